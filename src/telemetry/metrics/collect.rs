//! Putting a snapshot together.

use super::families::Desc;
use buntime_plugin::metrics::{Family, Histogram, Sample, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Whoever knows what some metrics are at the moment.
pub trait Collector: Send + Sync {
    /// Adds its samples. May read files, for it is called where nobody else waits.
    fn collect(&self, into: &mut Families);
}

/// The families so far.
#[derive(Debug, Default)]
pub struct Families(BTreeMap<&'static str, Family>);

/// Labels as whoever adds a sample has them.
type Label = (&'static str, Arc<str>);

impl Families {
    pub fn number(&mut self, desc: &Desc, labels: impl IntoIterator<Item = Label>, value: f64) {
        self.add(desc, labels, Value::Number(value));
    }

    pub fn histogram(&mut self, desc: &Desc, labels: impl IntoIterator<Item = Label>, value: Histogram) {
        self.add(desc, labels, Value::Histogram(value));
    }

    fn add(&mut self, desc: &Desc, labels: impl IntoIterator<Item = Label>, value: Value) {
        let labels = labels.into_iter().map(|(name, text)| (Cow::Borrowed(name), text)).collect();
        let family = self.0.entry(desc.name).or_insert_with(|| desc.family());
        family.samples.push(Sample { labels, value });
    }

    pub(super) fn into_families(self) -> Vec<Family> {
        self.0.into_values().collect()
    }
}
