//! What goes between nodes beside effects: messages of PUBLISH, invalidations, traces.

use super::*;

fn heard(subscriber: &Subscriber) -> Vec<String> {
    let payload = |delivery| match delivery {
        Delivery::Message { message, .. } => String::from_utf8_lossy(&message.payload).into_owned(),
        other => panic!("no message: {other:?}"),
    };
    std::iter::from_fn(|| subscriber.take()).map(payload).collect()
}

#[test]
fn what_another_node_writes_makes_copies_stale() {
    let table = Table::default();
    let (first, second) = (Node::serving(&table), Node::serving(&table));
    let heard: Arc<Mutex<Vec<Stale>>> = Arc::default();
    let listener = Arc::clone(&heard);
    second.keyspace.on_stale(Box::new(move |stale, writer, _| {
        assert_eq!(writer, None, "no client of this node");
        listener.lock().extend(stale.iter().cloned());
    }));
    second.keyspace.add_reader(false);
    for name in ["k", "other"] {
        let key = second.keyspace.key(name.as_bytes());
        second.keyspace.lock_one(0, 0, key).track(key, 7);
    }
    first.set("k", "v");
    eventually("the copy is stale", || !heard.lock().is_empty());
    assert_eq!(second.get("k").as_deref(), Some("v"), "what is told is there to be read");
    first.keyspace.lock_all(0, 0).flush(None);
    eventually("all copies are stale", || heard.lock().len() == 2);
    let key = Stale::Key { name: b"k"[..].into(), readers: Readers::from_slice(&[7]), changed: true };
    assert_eq!(*heard.lock(), [key, Stale::Everything]);
    assert_eq!(second.keyspace.tracked(), (0, 0));
}

#[test]
fn messages_reach_the_subscribers_of_every_node_once_and_in_order() {
    const MESSAGES: usize = 2_000;
    let table = Table::default();
    let nodes = [Node::serving(&table), Node::serving(&table), Node::serving(&table)];
    eventually("all are connected", || nodes.iter().all(|node| node.connected() == 2));
    let listening = nodes.each_ref().map(|node| node.listen(Topic::Pattern, "news.*"));
    let sharded = nodes[2].listen(Topic::Shard, "news.0");
    for number in 0..MESSAGES {
        nodes[0].publish("news.0", format!("zero {number}"));
        nodes[1].publish("news.1", format!("one {number}"));
        nodes[1].publish("other", "nobody listens".to_owned());
    }
    let mut all = listening.each_ref().map(|_| Vec::new());
    eventually("all messages are everywhere", || {
        all.iter_mut().zip(&listening).for_each(|(all, subscriber)| all.extend(heard(subscriber)));
        all.iter().all(|all| all.len() >= 2 * MESSAGES)
    });
    // Nothing comes twice.
    sleep(Duration::from_millis(50));
    all.iter_mut().zip(&listening).for_each(|(all, subscriber)| all.extend(heard(subscriber)));
    for all in all {
        for publisher in ["zero", "one"] {
            let of_one: Vec<&String> = all.iter().filter(|payload| payload.starts_with(publisher)).collect();
            let expected: Vec<String> = (0..MESSAGES).map(|number| format!("{publisher} {number}")).collect();
            assert!(of_one.into_iter().eq(&expected), "{publisher}");
        }
    }
    assert!(heard(&sharded).is_empty());
    let message = Message { sharded: true, channel: "news.0".into(), payload: "to shards".into() };
    nodes[0].channels.publish(message, 0);
    eventually("the shard channel has it", || heard(&sharded) == ["to shards"]);
    let counters = &nodes[0].channels.outbox.counters;
    assert_eq!((counters.sent.load(Relaxed), counters.dropped.load(Relaxed)), (2 * (MESSAGES as u64 + 1), 0));
}

#[test]
fn a_node_that_is_cut_off_misses_messages_and_holds_up_nobody() {
    let table = Table::default();
    let (first, second) = (Node::serving(&table), Node::serving(&table));
    eventually("they are connected", || first.connected() == 1 && second.connected() == 1);
    let listening = second.listen(Topic::Channel, "news");
    second.out.store(true, Relaxed);
    // More than what may wait for a peer, and what the operating system keeps.
    let large = "x".repeat(1 << 20);
    for _ in 0..100 {
        first.publish("news", large.clone());
        sleep(Duration::from_millis(1));
    }
    let counters = &first.channels.outbox.counters;
    eventually("some are dropped, or nobody is there to send them to", || {
        counters.dropped.load(Relaxed) > 0 || first.connected() == 0
    });
    second.out.store(false, Relaxed);
    eventually("they are connected again", || first.connected() == 1 && second.connected() == 1);
    eventually("new messages arrive", || {
        first.publish("news", "now".to_owned());
        sleep(Duration::from_millis(20));
        heard(&listening).contains(&"now".to_owned())
    });
}

#[test]
fn a_malformed_frame_of_messages_ends_the_connection() {
    let table = Table::default();
    let node = Node::serving(&table);
    let secret = ClusterSecret::separate(&[1; 32]);
    let net = SystemNet::default();
    let identity = fresh_identity(&secret, &[], &net).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = TransportOptions::new("127.0.0.1:0".parse().unwrap(), start::random_bytes(&net).unwrap());
        let transport = Transport::bind(&net, Arc::new(SystemClock::default()), identity, options).unwrap();
        let connection = transport.connect(node.address).await.unwrap();
        let mut writer = connection.open(StreamKind::Messages).await.unwrap();
        let listening = node.listen(Topic::Channel, "c");
        let good = [1, 2, 0, 1, b'c', 2, b'h', b'i'];
        writer.write(&[Bytes::copy_from_slice(&good)]).await.unwrap();
        writer.write(&[Bytes::from_static(&[1, 2, 0, 200])]).await.unwrap();
        assert!(connection.closed().await.contains("protocol violation"));
        assert_eq!(heard(&listening), ["hi"]);
    });
    eventually("it is counted", || node.report().refused_peers == 1);
}

#[test]
fn a_traced_write_shows_at_the_peer_and_in_its_acknowledgement_under_one_trace() {
    let (table, collector) = (Table::default(), Collector::start());
    let (one, other) = (Node::serving(&table), Node::serving(&table));
    for node in [&one, &other] {
        let endpoint = Endpoint::parse(&collector.url()).unwrap();
        let resource = Resource(vec![("host.name", node.handle.node().to_string())]);
        start_exporter(node.tracer.clone(), endpoint, resource).unwrap();
    }
    eventually("both are connected", || one.connected() == 1 && other.connected() == 1);
    one.set("untraced", "1");
    let context = TraceContext { trace: 0xabc, span: 0xdef };
    {
        let _scope = TraceScope::enter(context);
        one.set("traced", "1");
    }
    one.set("untraced", "2");
    let spans = collector.wait_for(|spans| spans.len() >= 3);
    let named = |name: &str| {
        let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
        assert_eq!(found.len(), 1, "{name}: {spans:?}");
        found[0]
    };
    let (replicate, apply, acknowledge) = (named("replicate"), named("apply"), named("acknowledge"));
    assert!(spans.iter().all(|span| span.trace_id == context.trace.to_be_bytes()), "{spans:?}");
    assert_eq!(replicate.parent_span_id, context.span.to_be_bytes());
    assert_eq!(apply.parent_span_id, replicate.span_id);
    assert_eq!(acknowledge.parent_span_id, replicate.span_id);
    assert!(replicate.start_time_unix_nano <= apply.end_time_unix_nano);
    // The peer itself has sent the span of what it did.
    let sender = |name: &str| {
        collector.requests().into_iter().flat_map(|(_, request)| request.resource_spans).find_map(|sent| {
            let has = sent.scope_spans.iter().flat_map(|scope| &scope.spans).any(|span| span.name == name);
            has.then(|| format!("{:?}", sent.resource))
        })
    };
    for (name, node) in [("replicate", &one), ("apply", &other), ("acknowledge", &one)] {
        assert!(sender(name).unwrap().contains(&node.handle.node().to_string()), "{name}");
    }
    assert_eq!(other.get("traced").as_deref(), Some("1"));
}
