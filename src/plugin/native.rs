//! The native plugins that are linked in: the one place that names them.

use super::manifest::{self, PluginName};
use buntime_plugin::Native;
use http::HeaderName;
use std::sync::LazyLock;

/// All of them, in any order.
pub static ALL: &[&Native] =
    &[&buntime_plugin_logs::NATIVE, &buntime_plugin_metrics::NATIVE, &buntime_plugin_vhosts::NATIVE];

/// Headers that only plugins may set, be they on or off: they never arrive from outside.
pub static OWNED_HEADERS: LazyLock<Vec<HeaderName>> = LazyLock::new(|| {
    ALL.iter().flat_map(|native| native.owned_headers).map(|name| HeaderName::from_static(name)).collect()
});

/// What its manifest says it is called; none = it says nothing, a fault that a test finds.
pub fn name(native: &Native) -> Option<PluginName> {
    manifest::name_of(native.manifest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_has_a_name_of_its_own_and_is_off() {
        let names: HashSet<PluginName> = ALL.iter().map(|native| name(native).unwrap()).collect();
        assert_eq!(names.len(), ALL.len());
        for native in ALL {
            assert!(native.manifest.lines().any(|line| line == "enabled: false"), "{:?}", name(native));
        }
    }
}
