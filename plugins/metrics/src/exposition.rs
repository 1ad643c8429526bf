//! The two formats that Prometheus reads: its own text format (0.0.4) and OpenMetrics 1.0. OpenMetrics also has units and, with
//! the buckets of histograms, the last trace that fell into each.

use crate::negotiate::Format;
use buntime_plugin::metrics::{Exemplar, Family, Histogram, Kind, Sample, Snapshot, Value};
use std::fmt::Write;
use std::time::UNIX_EPOCH;

/// A snapshot as text.
pub fn write(snapshot: &Snapshot, format: Format) -> String {
    let mut out = Writer { out: String::new(), format };
    snapshot
        .families
        .iter()
        .filter(|family| !family.samples.is_empty())
        .for_each(|family| out.family(family));
    if format == Format::OpenMetrics {
        out.out.push_str("# EOF\n");
    }
    out.out
}

struct Writer {
    out: String,
    format: Format,
}

impl Writer {
    fn family(&mut self, family: &Family) {
        let name = &*family.name;
        // In OpenMetrics a counter's family is called as its samples are, but for the ending.
        let called = match self.format {
            Format::OpenMetrics if family.kind == Kind::Counter => name.trim_end_matches("_total"),
            _ => name,
        };
        self.put(format_args!("# TYPE {called} {}\n", family.kind));
        if let Some(unit) = family.unit.filter(|_| self.format == Format::OpenMetrics) {
            self.put(format_args!("# UNIT {called} {unit}\n"));
        }
        self.put(format_args!("# HELP {called} "));
        self.escaped(&family.help, self.format == Format::OpenMetrics);
        self.out.push('\n');
        for sample in &family.samples {
            match &sample.value {
                Value::Number(value) => self.number(name, "", sample, None, *value),
                Value::Histogram(histogram) => self.histogram(name, sample, histogram),
            }
        }
    }

    fn histogram(&mut self, name: &str, sample: &Sample, histogram: &Histogram) {
        let mut count = 0;
        for bucket in &histogram.buckets {
            count += bucket.count;
            self.line(name, "_bucket", sample, Some(bucket.le), count as f64);
            if let Some(exemplar) = bucket.exemplar.as_ref().filter(|_| self.format == Format::OpenMetrics) {
                self.exemplar(exemplar);
            }
            self.out.push('\n');
        }
        self.number(name, "_sum", sample, None, histogram.sum);
        self.number(name, "_count", sample, None, count as f64);
    }

    fn number(&mut self, name: &str, ending: &str, sample: &Sample, le: Option<f64>, value: f64) {
        self.line(name, ending, sample, le, value);
        self.out.push('\n');
    }

    /// A sample, without the end of its line.
    fn line(&mut self, name: &str, ending: &str, sample: &Sample, le: Option<f64>, value: f64) {
        self.put(format_args!("{name}{ending}"));
        let mut separator = '{';
        for (name, text) in &sample.labels {
            self.put(format_args!("{separator}{name}=\""));
            self.escaped(text, true);
            self.out.push('"');
            separator = ',';
        }
        if let Some(le) = le {
            self.put(format_args!("{separator}le=\""));
            self.bound(le);
            self.out.push('"');
            separator = ',';
        }
        if separator == ',' {
            self.out.push('}');
        }
        self.out.push(' ');
        self.value(value);
    }

    fn exemplar(&mut self, Exemplar { trace_id, value, at }: &Exemplar) {
        self.out.push_str(" # {trace_id=\"");
        self.escaped(trace_id, true);
        self.out.push_str("\"} ");
        self.value(*value);
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.put(format_args!(" {}.{:03}", at.as_secs(), at.subsec_millis()));
    }

    /// In the one form that OpenMetrics allows for it (section "Canonical Numbers"), which is also that of Prometheus' libraries.
    fn bound(&mut self, le: f64) {
        if le.is_infinite() {
            self.out.push_str("+Inf");
        } else if le > 0.0 && le < 1e-4 {
            let text = format!("{le:e}");
            match text.split_once("e-") {
                Some((digits, exponent)) => self.put(format_args!("{digits}e-{exponent:0>2}")),
                None => self.out.push_str(&text),
            }
        } else {
            self.value(le);
            if le.fract() == 0.0 && self.format == Format::OpenMetrics {
                self.out.push_str(".0");
            }
        }
    }

    fn value(&mut self, value: f64) {
        match value {
            f64::INFINITY => self.out.push_str("+Inf"),
            f64::NEG_INFINITY => self.out.push_str("-Inf"),
            value if value.is_nan() => self.out.push_str("NaN"),
            value => self.put(format_args!("{value}")),
        }
    }

    /// Whatever it holds, it stays on its line and between its quotes.
    fn escaped(&mut self, text: &str, quotes: bool) {
        for character in text.chars() {
            match character {
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '"' if quotes => self.out.push_str("\\\""),
                other => self.out.push(other),
            }
        }
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // A string takes everything.
        let _ = self.out.write_fmt(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use buntime_plugin::metrics::Bucket;
    use std::time::{Duration, SystemTime};

    fn snapshot() -> Snapshot {
        let trace = Exemplar {
            trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
            value: 0.0042,
            at: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        };
        let bucket = |le, count, exemplar| Bucket { le, count, exemplar };
        let took = Histogram {
            buckets: vec![
                bucket(0.000_002_5, 0, None),
                bucket(0.005, 2, Some(trace)),
                bucket(1.0, 1, None),
                bucket(f64::INFINITY, 1, None),
            ],
            sum: 31.5,
        };
        let requests = Family::new("requests_total", Kind::Counter, "With a \\, a \"quote\" and\na line.")
            .with(&[("app", "sh\"o\\p\nü")], 3.0)
            .with(&[], 0.5);
        let families = vec![
            requests,
            Family::new("nothing", Kind::Gauge, "Nobody sees it."),
            Family::new("took_seconds", Kind::Histogram, "Took.").unit("seconds").with(&[("app", "a")], took),
        ];
        Snapshot { at: SystemTime::now(), families }
    }

    #[test]
    fn the_text_format_escapes_and_adds_buckets_up() {
        let expected = r#"# TYPE requests_total counter
# HELP requests_total With a \\, a "quote" and\na line.
requests_total{app="sh\"o\\p\nü"} 3
requests_total 0.5
# TYPE took_seconds histogram
# HELP took_seconds Took.
took_seconds_bucket{app="a",le="2.5e-06"} 0
took_seconds_bucket{app="a",le="0.005"} 2
took_seconds_bucket{app="a",le="1"} 3
took_seconds_bucket{app="a",le="+Inf"} 4
took_seconds_sum{app="a"} 31.5
took_seconds_count{app="a"} 4
"#;
        assert_eq!(write(&snapshot(), Format::Text), expected);
    }

    #[test]
    fn openmetrics_has_units_traces_and_an_end() {
        let expected = r#"# TYPE requests counter
# HELP requests With a \\, a \"quote\" and\na line.
requests_total{app="sh\"o\\p\nü"} 3
requests_total 0.5
# TYPE took_seconds histogram
# UNIT took_seconds seconds
# HELP took_seconds Took.
took_seconds_bucket{app="a",le="2.5e-06"} 0
took_seconds_bucket{app="a",le="0.005"} 2 # {trace_id="4bf92f3577b34da6a3ce929d0e0e4736"} 0.0042 1700000000.123
took_seconds_bucket{app="a",le="1.0"} 3
took_seconds_bucket{app="a",le="+Inf"} 4
took_seconds_sum{app="a"} 31.5
took_seconds_count{app="a"} 4
# EOF
"#;
        assert_eq!(write(&snapshot(), Format::OpenMetrics), expected);
    }
}
