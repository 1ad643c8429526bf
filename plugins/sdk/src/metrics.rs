//! What the runtime measures, as plugins see it: families of samples, copied at one moment.

use crate::BoxFuture;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// Where the numbers come from.
pub trait Source: Send + Sync {
    /// All of them, now. Reads files of `/proc` on a thread of its own.
    fn snapshot(&self) -> BoxFuture<'_, Snapshot>;

    /// At most so many apps have series of their own from now on; what belongs to later ones is added up under `app="_other"`.
    fn limit_apps(&self, most: usize);
}

/// All families, ordered by name; each with its samples.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub at: SystemTime,
    pub families: Vec<Family>,
}

/// One metric with all its series.
#[derive(Clone, Debug)]
pub struct Family {
    /// As Prometheus shows it, with `_total` where it is a counter: `buntime_http_requests_total`.
    pub name: Cow<'static, str>,
    /// One sentence.
    pub help: Cow<'static, str>,
    pub kind: Kind,
    /// `seconds`, `bytes`: the base unit, with which the name ends (before `_total`).
    pub unit: Option<&'static str>,
    pub samples: Vec<Sample>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only grows, until the process starts anew.
    Counter,
    Gauge,
    Histogram,
}

#[derive(Clone, Debug)]
pub struct Sample {
    /// In the order in which they are to be shown.
    pub labels: Vec<(Cow<'static, str>, Arc<str>)>,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub enum Value {
    Number(f64),
    Histogram(Histogram),
}

/// How often something took how long, or was how large.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// In ascending order; the last one has no bound (`f64::INFINITY`).
    pub buckets: Vec<Bucket>,
    pub sum: f64,
}

#[derive(Clone, Debug)]
pub struct Bucket {
    /// The greatest value that falls into it.
    pub le: f64,
    /// Those that fell into this one, not also those below.
    pub count: u64,
    /// The last one of them that has a trace.
    pub exemplar: Option<Exemplar>,
}

/// One observation, and the trace that shows what happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    pub value: f64,
    pub at: SystemTime,
}

impl Kind {
    /// As the exposition formats call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Snapshot {
    /// One family by its name.
    pub fn family(&self, name: &str) -> Option<&Family> {
        self.families.iter().find(|family| family.name == name)
    }
}

impl Family {
    /// A family without samples.
    pub fn new(name: impl Into<Cow<'static, str>>, kind: Kind, help: impl Into<Cow<'static, str>>) -> Family {
        Family { name: name.into(), help: help.into(), kind, unit: None, samples: Vec::new() }
    }

    /// The same in a unit.
    pub fn unit(mut self, unit: &'static str) -> Family {
        self.unit = Some(unit);
        self
    }

    /// The same with one sample more.
    pub fn with(mut self, labels: &[(&'static str, &str)], value: impl Into<Value>) -> Family {
        let labels = labels.iter().map(|&(name, text)| (Cow::Borrowed(name), Arc::from(text))).collect();
        self.samples.push(Sample { labels, value: value.into() });
        self
    }
}

impl Sample {
    /// What a label says; none where the sample has no such label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| known == name).map(|(_, text)| &**text)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Value {
        Value::Number(number)
    }
}

impl From<Histogram> for Value {
    fn from(histogram: Histogram) -> Value {
        Value::Histogram(histogram)
    }
}

impl Histogram {
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.count).sum()
    }

    /// The value below which this part (0 to 1) of them lies, as well as the buckets tell: inside one they are taken to be spread
    /// evenly. None where there are none. What lies beyond the last bound is that bound.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = part.clamp(0.0, 1.0) * count as f64;
        let (mut below, mut low) = (0.0, 0.0);
        for bucket in &self.buckets {
            let within = bucket.count as f64;
            if bucket.le.is_infinite() {
                break;
            }
            if within > 0.0 && below + within >= rank {
                return Some(low + (bucket.le - low) * ((rank - below) / within));
            }
            below += within;
            low = bucket.le;
        }
        Some(low)
    }

    /// What came since `earlier`, which is the same histogram as it was. Without exemplars.
    pub fn since(&self, earlier: &Histogram) -> Histogram {
        let before = |index: usize| earlier.buckets.get(index).map_or(0, |bucket| bucket.count);
        let buckets = self.buckets.iter().enumerate().map(|(index, bucket)| Bucket {
            le: bucket.le,
            count: bucket.count.saturating_sub(before(index)),
            exemplar: None,
        });
        Histogram { buckets: buckets.collect(), sum: (self.sum - earlier.sum).max(0.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(counts: [u64; 4]) -> Histogram {
        let bounds = [0.1, 0.2, 0.4, f64::INFINITY];
        let bucket = |(le, count)| Bucket { le, count, exemplar: None };
        Histogram { buckets: bounds.into_iter().zip(counts).map(bucket).collect(), sum: 0.0 }
    }

    #[test]
    fn quantiles_lie_evenly_in_their_bucket() {
        let spread = histogram([10, 10, 0, 0]);
        assert_eq!(spread.quantile(0.5), Some(0.1));
        assert!((spread.quantile(0.75).unwrap() - 0.15).abs() < 1e-9);
        assert_eq!(spread.quantile(1.0), Some(0.2));
        assert_eq!(histogram([0, 0, 0, 3]).quantile(0.5), Some(0.4));
        assert_eq!(histogram([0; 4]).quantile(0.5), None);
    }

    #[test]
    fn what_came_since_an_earlier_look_is_the_difference() {
        let since = histogram([5, 7, 0, 1]).since(&histogram([5, 2, 0, 1]));
        assert_eq!(since.buckets.iter().map(|bucket| bucket.count).collect::<Vec<_>>(), [0, 5, 0, 0]);
        assert_eq!(since.count(), 5);
    }
}
