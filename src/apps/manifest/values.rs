//! The values that only an app's manifest has.

use crate::manifest::{Reader, VARIABLE_HINT, is_variable, set, shorten};
use crate::model::manifest::{Instances, Manifest, Queue};
use crate::model::quantity::show_size;
use serde_yaml::Value;

/// The supervisor's own settings, keys among them: no app may ask for one.
const OWN_VARIABLES: [&str; 2] = ["RUNTIME_", "BUNTIME_"];

const MAX_QUEUE: u64 = 1_000_000;
const MAX_INSTANCES: u64 = 10_000;

impl Reader {
    pub fn entrypoint(&mut self, value: &Value) -> Option<String> {
        self.path_inside(value, "the entrypoint", "app")
    }

    pub fn body_size(&mut self, value: &Value, ceiling: u64) -> Option<u64> {
        let size = self.size(value)?;
        if size > ceiling {
            self.wrong_hint(
                format!("{} is more than the operator allows ({})", show_size(size), show_size(ceiling)),
                "the ceiling is the runtime's `--max-body-size`",
            );
        }
        Some(size)
    }

    pub fn prefix(&mut self, value: &Value) -> Option<String> {
        let text = self.text(value)?;
        if !is_variable(text) {
            self.wrong_hint(
                format!("`{}` is no prefix of variables", shorten(text)),
                "write it as in `PUBLIC_`; `[]` publishes none",
            );
        }
        Some(text.into())
    }

    pub fn passthrough(&mut self, value: &Value) -> Option<String> {
        let text = self.text(value)?;
        if !is_variable(text) {
            self.wrong_hint(format!("`{}` is no name of a variable", shorten(text)), VARIABLE_HINT);
        } else if OWN_VARIABLES.iter().any(|own| text.starts_with(own)) {
            self.wrong(format!("`{}` is the runtime's own: no app may see it", shorten(text)));
        }
        Some(text.into())
    }

    pub fn instances(&mut self, value: &Value, cores: u32) -> Option<Instances> {
        let mut instances = Manifest::default().instances;
        let mut max_is_stated = false;
        for (key, value) in self.map(value)? {
            self.field(key, |reader, key| match key {
                "min" => set(&mut instances.min, reader.small(value, 0, MAX_INSTANCES)),
                "max" => {
                    max_is_stated = true;
                    match value.as_str() {
                        Some("auto") => instances.max = cores,
                        Some(_) => reader.wrong("expected a whole number or `auto` (one a core)".into()),
                        None => set(&mut instances.max, reader.small(value, 1, MAX_INSTANCES)),
                    }
                }
                unknown => reader.unknown_key(unknown, &["min", "max"]),
            });
        }
        if self.findings.is_empty() && instances.min > instances.max {
            let Instances { min, max } = instances;
            let why = if max_is_stated { "" } else { ", its default" };
            self.wrong(format!("`min` ({min}) is more than `max` ({max}{why})"));
        }
        Some(instances)
    }

    pub fn queue(&mut self, value: &Value) -> Option<Queue> {
        let mut queue = Manifest::default().queue;
        for (key, value) in self.map(value)? {
            self.field(key, |reader, key| match key {
                "size" => set(&mut queue.size, reader.small(value, 0, MAX_QUEUE)),
                "timeout" => set(&mut queue.timeout, reader.duration(value)),
                unknown => reader.unknown_key(unknown, &["size", "timeout"]),
            });
        }
        Some(queue)
    }
}
