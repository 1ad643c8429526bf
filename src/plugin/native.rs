//! The native plugins that are linked in: the one place that names them.

use buntime_plugin::Native;

pub static ALL: &[&Native] = &[];
