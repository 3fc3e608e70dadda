//! The shipped transport on the simulated network, without anything above it: it repeats from its seed to the last byte,
//! through lost, doubled and late packets, a partition, and a peer that loses power and comes back.

use std::cell::RefCell;
use std::error::Error;
use std::net::SocketAddr;
use std::process::Command;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use sim::network::clock::{EPOCH, SimulatedClock};
use sim::network::entropy::on_fresh_thread;
use sim::network::record::{Record, hash};
use sim::network::socket::{DatagramFaults, SimulatedNet, Weather};
use swytch::cluster::{
    ClusterSecret, Connection, FrameReader, FrameWriter, Net, StreamKind, Transport, TransportOptions, fresh_identity,
};
use tokio::time::{sleep, timeout};
use turmoil::Sim;

const PORT: u16 = 7379;

/// How long the dialer sends frames.
const WORKING_TIME: Duration = Duration::from_secs(20);

static SECRET: LazyLock<ClusterSecret> = LazyLock::new(|| ClusterSecret::derive("a passphrase").unwrap());

fn transport(name: &str, weather: &Weather, record: &Record, seed: u64) -> Transport {
    let net = SimulatedNet::new(turmoil::lookup(name), weather.clone(), record.clone(), seed);
    let identity = fresh_identity(&SECRET, &[], &net).unwrap();
    let mut entropy = [0; 32];
    net.crypto().secure_random.fill(&mut entropy).unwrap();
    let options = TransportOptions::new(SocketAddr::from(([0, 0, 0, 0], PORT)), entropy);
    Transport::bind(&net, Arc::new(SimulatedClock::default()), identity, options).unwrap()
}

/// Sends every frame back that comes on a stream.
async fn echo(connection: Connection) -> Result<(), Box<dyn Error>> {
    let (_, mut reader) = connection.accept().await?;
    let mut writer = connection.open(StreamKind::Effects).await?;
    while let Some(frame) = reader.read(1 << 20).await? {
        writer.write(&[frame]).await?;
    }
    Ok(())
}

/// Sends one frame and waits until it is back; the first answer brings the stream that all of them come on.
async fn round(
    connection: &Connection,
    writer: &mut FrameWriter,
    reader: &mut Option<FrameReader>,
    frame: Bytes,
) -> Result<(), Box<dyn Error>> {
    writer.write(std::slice::from_ref(&frame)).await?;
    if reader.is_none() {
        *reader = Some(connection.accept().await?.1);
    }
    let back = match reader {
        Some(reader) => reader.read(1 << 20).await?,
        None => None,
    };
    assert_eq!(back, Some(frame));
    Ok(())
}

/// The one who is dialed.
async fn serve(weather: Weather, record: Record, seed: u64) -> Result<(), Box<dyn Error>> {
    let transport = transport("server", &weather, &record, seed);
    while let Some(incoming) = transport.accept().await {
        if let Ok(connection) = incoming.establish().await {
            tokio::task::spawn_local(async move { echo(connection).await.map_err(|error| error.to_string()) });
        }
    }
    Ok(())
}

/// When a connection ended, and why.
type Ends = Rc<RefCell<Vec<(Duration, String)>>>;

/// The one who dials: sends frames for a while, over as many connections as it takes.
async fn work(weather: Weather, record: Record, seed: u64, ends: Ends) -> Result<(), Box<dyn Error>> {
    let transport = transport("client", &weather, &record, !seed);
    let server = SocketAddr::new(turmoil::lookup("server"), PORT);
    let mut random = fastrand::Rng::with_seed(seed);
    while turmoil::elapsed() < WORKING_TIME {
        let Ok(connection) = transport.connect(server).await else { continue };
        let mut writer = connection.open(StreamKind::Effects).await?;
        let mut reader = None;
        while turmoil::elapsed() < WORKING_TIME {
            let frame = Bytes::from((0..random.usize(1..5_000)).map(|_| random.u8(..)).collect::<Vec<_>>());
            if let Err(error) = round(&connection, &mut writer, &mut reader, frame).await {
                ends.borrow_mut().push((turmoil::elapsed(), error.to_string()));
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
    timeout(Duration::from_secs(1), transport.close("done")).await?;
    Ok(())
}

fn pass(simulation: &mut Sim<'_>, until_second: u64) {
    while simulation.elapsed() < Duration::from_secs(until_second) {
        simulation.step().unwrap();
    }
}

/// What happened, and how the client's connections ended.
fn trial(seed: u64) -> (Vec<String>, Vec<(Duration, String)>) {
    on_fresh_thread(seed, move || {
        let (record, weather, ends) = (Record::default(), Weather::default(), Ends::default());
        let longest_delay = Duration::from_millis(20);
        weather.set(DatagramFaults { loss: 0.05, duplication: 0.05, reordering: 0.1, longest_delay });
        let mut simulation = turmoil::Builder::new()
            .epoch(std::time::UNIX_EPOCH + EPOCH)
            .simulation_duration(Duration::from_secs(60))
            .udp_capacity(4096)
            .rng_seed(seed)
            .build();
        let (server_weather, server_record) = (weather.clone(), record.clone());
        simulation.host("server", move || serve(server_weather.clone(), server_record.clone(), seed));
        simulation.client("client", work(weather, record.clone(), seed, ends.clone()));
        pass(&mut simulation, 4);
        simulation.partition("client", "server");
        pass(&mut simulation, 8);
        simulation.repair("client", "server");
        pass(&mut simulation, 12);
        simulation.partition("client", "server");
        simulation.crash("server");
        pass(&mut simulation, 13);
        simulation.repair("client", "server");
        simulation.bounce("server");
        simulation.run().unwrap();
        (record.take(), ends.take())
    })
}

#[test]
fn a_short_partition_is_survived_and_a_restart_is_noticed_at_once() {
    let (trace, ends) = trial(0);
    assert!(trace.len() > 1000);
    let [(when, why)] = &ends[..] else { panic!("one connection ends, and the next one stays: {ends:?}") };
    assert!(*when > Duration::from_secs(13) && *when < Duration::from_secs(16), "noticed after {when:?}");
    assert_eq!(why, "it was restarted");
}

#[test]
fn twenty_seeds_repeat() {
    let mut hashes = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let (first, second) = (trial(seed), trial(seed));
        let difference = first.0.iter().zip(&second.0).position(|(one, other)| one != other);
        assert_eq!(difference.map(|line| (&first.0[line], &second.0[line])), None, "seed {seed}");
        assert_eq!(first, second, "seed {seed}");
        hashes.insert(hash(first.0.join("\n").as_bytes()));
    }
    assert_eq!(hashes.len(), 20, "different seeds are different trials");
}

/// Tells the child process of the test below to do its part.
const CHILD: &str = "SWYTCH_SIMULATION_CHILD";

#[test]
fn another_process_sees_the_same() {
    let line = (0..20).fold(String::from("traces:"), |line, seed| {
        format!("{line} {:016x}", hash(trial(seed).0.join("\n").as_bytes()))
    });
    println!("{line}");
    if std::env::var_os(CHILD).is_none() {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "another_process_sees_the_same", "--nocapture"]).env(CHILD, "1");
        let output = String::from_utf8(child.output().unwrap().stdout).unwrap();
        assert!(output.contains(&line), "{line}, and of the other process: {output}");
    }
}
