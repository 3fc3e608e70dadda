//! Sampling, the queue, and the exporter against a collector that is there, away, or of another opinion.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::testing::Collector;
use super::*;

fn span(name: &'static str) -> Span {
    Span {
        name,
        kind: SpanKind::Server,
        context: TraceContext { trace: 0x1234, span: 0x56 },
        parent: Some(0x78),
        begun: 1_000,
        ended: 2_000,
        failed: true,
        attributes: vec![("text", Value::Text("a".into())), ("number", Value::Number(-7))],
    }
}

fn exporting(url: &str) -> Arc<Tracer> {
    let tracer = Arc::new(Tracer::new(1.0));
    let endpoint = Endpoint::parse(url).expect("a URL");
    let resource = Resource(vec![("service.name", "swytch".to_owned())]);
    start_exporter(Arc::clone(&tracer), endpoint, resource).expect("a thread");
    tracer
}

fn eventually(holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn about_as_many_commands_are_sampled_as_the_ratio_says() {
    let mut random = fastrand::Rng::with_seed(1);
    for (ratio, least, most) in [(1.0, 10_000, 10_000), (0.5, 4_500, 5_500), (0.001, 1, 30)] {
        let tracer = Tracer::new(ratio);
        let sampled = (0..10_000).filter_map(|_| tracer.sample(&mut random)).collect::<Vec<_>>();
        assert!((least..=most).contains(&sampled.len()), "{ratio}: {}", sampled.len());
        assert!(sampled.iter().all(|context| context.trace != 0 && context.span != 0));
    }
    let tracer = Tracer::new(1.0);
    let root = tracer.sample(&mut random).expect("everything is sampled");
    let child = tracer.child(root, &mut random);
    assert_eq!(child.trace, root.trace);
    assert_ne!(child.span, root.span);
}

#[test]
fn a_collector_gets_what_a_span_says() {
    let collector = Collector::start();
    let tracer = exporting(&collector.url());
    tracer.finish(span("one"));
    let spans = collector.wait_for(|spans| !spans.is_empty());
    let (head, request) = collector.requests().remove(0);
    assert!(
        head.starts_with("POST /v1/traces HTTP/1.1\r\n") && head.contains("Content-Type: application/x-protobuf"),
        "{head}"
    );
    let resource = request.resource_spans[0].resource.as_ref().expect("it says who sends");
    assert_eq!(resource.attributes[0].key, "service.name");
    let one = &spans[0];
    assert_eq!(one.trace_id, 0x1234u128.to_be_bytes());
    assert_eq!((&one.span_id[..], &one.parent_span_id[..]), (&0x56u64.to_be_bytes()[..], &0x78u64.to_be_bytes()[..]));
    assert_eq!(
        (one.name.as_str(), one.kind, one.start_time_unix_nano, one.end_time_unix_nano),
        ("one", 2, 1_000, 2_000)
    );
    assert_eq!(one.status.as_ref().map(|status| status.code), Some(2));
    assert_eq!(one.attributes.len(), 2);
    eventually(|| tracer.exported() == 1);
    assert_eq!(tracer.dropped(), 0);
}

#[test]
fn what_waits_at_the_end_is_still_sent() {
    let collector = Collector::start();
    let tracer = exporting(&collector.url());
    (0..BATCH + 3).for_each(|_| tracer.finish(span("late")));
    tracer.close(Duration::from_secs(10));
    // The collector has answered, and is about to note what it got.
    collector.wait_for(|spans| spans.len() == BATCH + 3);
    tracer.finish(span("too late"));
    assert_eq!((tracer.exported(), tracer.dropped()), (BATCH as u64 + 3, 1));
}

#[test]
fn a_collector_that_is_down_costs_spans_beyond_a_bound_and_no_time() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("loopback is there").local_addr().expect("it is bound");
    let tracer = exporting(&format!("http://{nobody}"));
    let begun = Instant::now();
    (0..MAX_WAITING + 2 * BATCH).for_each(|_| tracer.finish(span("lost")));
    assert!(begun.elapsed() < Duration::from_secs(1), "nobody waits for the collector");
    eventually(|| tracer.dropped() >= BATCH as u64);
    assert!(tracer.waiting.lock().spans.len() <= MAX_WAITING);
    let begun = Instant::now();
    tracer.close(Duration::from_secs(10));
    assert!(begun.elapsed() < Duration::from_secs(5), "nor at the end");
    assert_eq!(tracer.exported(), 0);
}

#[test]
fn spans_of_a_short_outage_arrive_later_in_their_order() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    let tracer = exporting(&format!("http://{}", listener.local_addr().expect("it is bound")));
    tracer.finish(span("first"));
    let answer = |answer: &str| {
        let (mut stream, _) = listener.accept().expect("it tries");
        let mut head = [0; 64 << 10];
        let length = stream.read(&mut head).expect("it says something");
        stream.write_all(answer.as_bytes()).expect("it listens");
        String::from_utf8_lossy(&head[..length]).into_owned()
    };
    answer("HTTP/1.1 503 Service Unavailable\r\n\r\n");
    tracer.finish(span("second"));
    answer("HTTP/1.1 200 OK\r\n\r\n");
    eventually(|| tracer.exported() == 2);
    // Who refuses for good is not asked again for the same.
    tracer.finish(span("refused"));
    answer("HTTP/1.1 400 Bad Request\r\n\r\n");
    eventually(|| tracer.dropped() == 1);
    assert_eq!(tracer.exported(), 2);
}
