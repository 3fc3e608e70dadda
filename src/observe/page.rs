//! A page of metrics on its way to being text.
//!
//! Each page is made for one answer and dropped: values are read where they are kept, nothing is counted here. Must not
//! know what the metrics are about.

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{CounterVec, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

const VALID: &str = "the names are constants of the allowed form";

/// See the module's text.
#[derive(Default)]
pub(super) struct Page {
    registry: Registry,
}

/// What one histogram has, as Prometheus wants it.
pub(super) struct Distribution {
    /// Upper bounds in ascending order, and how many values do not exceed each.
    pub(super) cumulative: Vec<(f64, u64)>,
    /// How many values there are.
    pub(super) count: u64,
    /// Their sum.
    pub(super) sum: f64,
}

impl Page {
    pub(super) fn gauge(&self, name: &str, help: &str, value: u64) {
        let gauge = IntGauge::new(name, help).expect(VALID);
        gauge.set(whole(value));
        self.add(gauge);
    }

    pub(super) fn counter(&self, name: &str, help: &str, value: u64) {
        let counter = IntCounter::new(name, help).expect(VALID);
        counter.inc_by(value);
        self.add(counter);
    }

    pub(super) fn labelled_gauge<'a, const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: &[&str; N],
        values: impl IntoIterator<Item = ([&'a str; N], u64)>,
    ) {
        let gauges = IntGaugeVec::new(Opts::new(name, help), labels).expect(VALID);
        values.into_iter().for_each(|(labels, value)| gauges.with_label_values(&labels).set(whole(value)));
        self.add(gauges);
    }

    pub(super) fn labelled_counter<'a, const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: &[&str; N],
        values: impl IntoIterator<Item = ([&'a str; N], u64)>,
    ) {
        let counters = IntCounterVec::new(Opts::new(name, help), labels).expect(VALID);
        values.into_iter().for_each(|(labels, value)| counters.with_label_values(&labels).inc_by(value));
        self.add(counters);
    }

    /// A gauge of seconds or other quantities that are not whole.
    pub(super) fn labelled_quantity<'a, const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: &[&str; N],
        values: impl IntoIterator<Item = ([&'a str; N], f64)>,
    ) {
        let gauges = GaugeVec::new(Opts::new(name, help), labels).expect(VALID);
        values.into_iter().for_each(|(labels, value)| gauges.with_label_values(&labels).set(value));
        self.add(gauges);
    }

    /// The same that only grows.
    pub(super) fn labelled_total<'a, const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: &[&str; N],
        values: impl IntoIterator<Item = ([&'a str; N], f64)>,
    ) {
        let counters = CounterVec::new(Opts::new(name, help), labels).expect(VALID);
        values.into_iter().for_each(|(labels, value)| counters.with_label_values(&labels).inc_by(value));
        self.add(counters);
    }

    pub(super) fn labelled_histogram<'a, const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: &[&str; N],
        values: impl IntoIterator<Item = ([&'a str; N], Distribution)>,
    ) {
        let names = labels.iter().map(ToString::to_string).collect();
        let description =
            Desc::new(name.to_owned(), help.to_owned(), names, std::collections::HashMap::new()).expect(VALID);
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(values.into_iter().map(|(values, has)| metric(labels, &values, has)).collect());
        self.add(Counted { description, family });
    }

    pub(super) fn text(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).expect("text in memory cannot fail")
    }

    fn add(&self, metric: impl Collector + 'static) {
        self.registry.register(Box::new(metric)).expect("each name is used once");
    }
}

fn metric(names: &[&str], values: &[&str], has: Distribution) -> Metric {
    let label = |(name, value): (&&str, &&str)| {
        let mut label = LabelPair::default();
        label.set_name((*name).to_owned());
        label.set_value((*value).to_owned());
        label
    };
    let mut metric = Metric::from_label(names.iter().zip(values).map(label).collect());
    let bucket = |(bound, count): (f64, u64)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(count);
        bucket
    };
    let mut histogram = Histogram::default();
    histogram.set_bucket(has.cumulative.into_iter().map(bucket).collect());
    histogram.set_sample_count(has.count);
    histogram.set_sample_sum(has.sum);
    metric.set_histogram(histogram);
    metric
}

/// Histograms that were counted elsewhere; the library's own would have to observe every value.
struct Counted {
    description: Desc,
    family: MetricFamily,
}

impl Collector for Counted {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        vec![self.family.clone()]
    }
}

fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_have_buckets_a_sum_and_a_count() {
        let page = Page::default();
        let has = Distribution { cumulative: vec![(0.001, 1), (0.5, 2)], count: 3, sum: 2.25 };
        page.labelled_histogram("swytch_test_seconds", "How long.", &["command"], [(["get"], has)]);
        let expected = "# HELP swytch_test_seconds How long.\n# TYPE swytch_test_seconds histogram\n\
            swytch_test_seconds_bucket{command=\"get\",le=\"0.001\"} 1\n\
            swytch_test_seconds_bucket{command=\"get\",le=\"0.5\"} 2\n\
            swytch_test_seconds_bucket{command=\"get\",le=\"+Inf\"} 3\n\
            swytch_test_seconds_sum{command=\"get\"} 2.25\nswytch_test_seconds_count{command=\"get\"} 3\n";
        assert_eq!(page.text(), expected);
        let alone = Distribution { cumulative: vec![(1.0, 0)], count: 0, sum: 0.0 };
        let page = Page::default();
        page.labelled_histogram("swytch_alone_seconds", "How long.", &[], [([], alone)]);
        assert!(page.text().contains("\nswytch_alone_seconds_bucket{le=\"1\"} 0\n"), "{}", page.text());
    }
}
