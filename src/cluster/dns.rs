//! Finding the first peers: from what `--join` says to socket addresses.
//!
//! Names only bootstrap a cluster, so every question is asked afresh, and nothing is remembered: not an answer, not a
//! failure, not the configuration of the system's resolver. This module must not know what the addresses are for.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use tokio::time::timeout;

use super::seams::{BoxFuture, ResolveError, Resolver};

/// How long one try of one question to one server may take.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a question may take, over all tries, servers and search domains.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);

/// Turns what `--join` says into addresses, without duplicates, in an order that depends on the answers alone:
/// - `address:port` and a bare address are taken as they are, the latter with `default_port`,
/// - `name:port` asks for the addresses of the name,
/// - `name` asks for SRV records, which carry host and port, and where there are none for the addresses of the name.
///
/// # Errors
/// [`ResolveError::NotFound`] when the name exists nowhere, [`ResolveError::Failed`] when that could not be found out, or
/// `join` is neither an address nor a name.
pub async fn discover(resolver: &dyn Resolver, join: &str, default_port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
    let join = join.trim();
    if let Ok(address) = join.parse::<SocketAddr>() {
        return Ok(vec![address]);
    }
    if let Ok(address) = join.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, default_port)]);
    }
    if let Some((name, port)) = join.split_once(':') {
        let invalid =
            || ResolveError::Failed(format!("'{join}' is neither an address nor a name, with or without port"));
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(invalid)?;
        return addresses(resolver, name, port).await;
    }
    let no_services = match services(resolver, join, default_port).await {
        Ok(services) => return Ok(services),
        Err(error) => error,
    };
    match (addresses(resolver, join, default_port).await, no_services) {
        // Some servers do not so much as answer questions for SRV; but when nothing at all is found, their failure counts.
        (Err(ResolveError::NotFound), failed @ ResolveError::Failed(_)) => Err(failed),
        (addresses, _) => addresses,
    }
}

/// The addresses behind the SRV records of a name, best record first.
async fn services(resolver: &dyn Resolver, name: &str, default_port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
    let services = resolver.services(name).await?;
    // Kubernetes answers a question for the plain name of a service with one record per pod and port, the client and the
    // metrics port included. Where one of a host's ports is the cluster's usual one, that is the one that is meant.
    let has_default_port = |target: &str| services.iter().any(|(other, port)| other == target && *port == default_port);
    let mut found = Vec::new();
    let mut first_error = None;
    let mut known = BTreeMap::<&str, Vec<IpAddr>>::new();
    for (target, port) in &services {
        // RFC 2782: the root as target says that the service is decidedly not available.
        if target.is_empty() || target == "." || (*port != default_port && has_default_port(target)) {
            continue;
        }
        if !known.contains_key(target.as_str()) {
            let addresses = match target.trim_end_matches('.').parse() {
                Ok(address) => Ok(vec![address]),
                Err(_) => resolver.addresses(target).await,
            };
            // A host that is gone from DNS, or not in it yet, does not hide the others.
            known.insert(
                target,
                addresses.unwrap_or_else(|error| {
                    first_error.get_or_insert(error);
                    Vec::new()
                }),
            );
        }
        let mut addresses = known[target.as_str()].clone();
        addresses.sort_unstable();
        found.extend(addresses.into_iter().map(|address| SocketAddr::new(address, *port)));
    }
    without_duplicates(found).ok_or(first_error.unwrap_or(ResolveError::NotFound))
}

/// The addresses of a name, with one port for all of them.
async fn addresses(resolver: &dyn Resolver, name: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
    let mut addresses = resolver.addresses(name).await?;
    addresses.sort_unstable();
    let found = addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect();
    without_duplicates(found).ok_or(ResolveError::NotFound)
}

/// The addresses in order, each once; `None` when there are none.
fn without_duplicates(addresses: Vec<SocketAddr>) -> Option<Vec<SocketAddr>> {
    let mut unique = Vec::with_capacity(addresses.len());
    for address in addresses {
        if !unique.contains(&address) {
            unique.push(address);
        }
    }
    (!unique.is_empty()).then_some(unique)
}

/// The system's way to resolve names: the hosts file, then the servers of `resolv.conf`, or one given server instead.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver {
    server: Option<SocketAddr>,
}

impl SystemResolver {
    /// Asks `server` by UDP and TCP instead of the system's servers, where it is given.
    pub fn new(server: Option<SocketAddr>) -> SystemResolver {
        SystemResolver { server }
    }

    /// A resolver with the configuration of this moment: in containers, both it and the hosts file change under a running
    /// process.
    fn resolver(&self) -> Result<TokioResolver, ResolveError> {
        let provider = TokioRuntimeProvider::default();
        let mut builder = match self.server {
            Some(server) => TokioResolver::builder_with_config(only(server), provider),
            None => TokioResolver::builder(provider.clone()).unwrap_or_else(|error| {
                // As resolv.conf(5) has it for a system without that file.
                tracing::debug!(%error, "cannot read the system's DNS configuration, asking 127.0.0.1");
                TokioResolver::builder_with_config(only(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53)), provider)
            }),
        };
        let options = builder.options_mut();
        options.timeout = TRY_TIMEOUT;
        options.attempts = 1;
        options.cache_size = 0;
        options.try_tcp_on_error = true;
        // Asked separately, before DNS: here it would have to wait for the search domains.
        options.use_hosts_file = ResolveHosts::Never;
        builder.build().map_err(failed)
    }

    async fn lookup_services(&self, name: &str) -> Result<Vec<(String, u16)>, ResolveError> {
        let lookup = self.resolver()?.lookup(name, RecordType::SRV).await.map_err(failed)?;
        let records = lookup.answers().iter().filter_map(|record| match &record.data {
            RData::SRV(service) => Some(service),
            _ => None,
        });
        let mut records = records.collect::<Vec<_>>();
        if records.is_empty() {
            return Err(ResolveError::NotFound);
        }
        // RFC 2782 would have a client choose at random by weight; whoever dials all of them needs only an order.
        records.sort_by_cached_key(|record| {
            (record.priority, Reverse(record.weight), record.target.to_utf8(), record.port)
        });
        Ok(records.into_iter().map(|record| (record.target.to_utf8(), record.port)).collect())
    }

    async fn lookup_addresses(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let listed = in_hosts_file(name);
        if !listed.is_empty() {
            return Ok(listed);
        }
        Ok(self.resolver()?.lookup_ip(name).await.map_err(failed)?.iter().collect())
    }
}

impl Resolver for SystemResolver {
    fn services<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<(String, u16)>, ResolveError>> {
        Box::pin(async move { timeout(QUESTION_TIMEOUT, self.lookup_services(name)).await.unwrap_or(Err(no_answer())) })
    }

    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, ResolveError>> {
        Box::pin(
            async move { timeout(QUESTION_TIMEOUT, self.lookup_addresses(name)).await.unwrap_or(Err(no_answer())) },
        )
    }
}

fn only(server: SocketAddr) -> ResolverConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    ResolverConfig::from_name_servers(vec![NameServerConfig::new(server.ip(), true, connections.into())])
}

/// What the hosts file says about a name; nothing when it cannot be read.
fn in_hosts_file(name: &str) -> Vec<IpAddr> {
    let (Ok(hosts), Ok(name)) = (Hosts::from_system(), Name::from_utf8(name)) else { return Vec::new() };
    let lookups = [RecordType::A, RecordType::AAAA]
        .into_iter()
        .filter_map(|record_type| hosts.lookup_static_host(&Query::query(name.clone(), record_type)));
    lookups
        .flat_map(|lookup| lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>())
        .collect()
}

fn failed(error: NetError) -> ResolveError {
    if error.is_no_records_found() { ResolveError::NotFound } else { ResolveError::Failed(error.to_string()) }
}

fn no_answer() -> ResolveError {
    ResolveError::Failed("no DNS server answers".to_owned())
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::op::{Message, ResponseCode};
    use hickory_resolver::proto::rr::Record;
    use hickory_resolver::proto::rr::rdata::{A, SRV};
    use tokio::net::UdpSocket;

    use super::*;

    /// Names in a table; what is not in it does not exist, and a name that begins with `broken` fails.
    #[derive(Default)]
    struct Table {
        services: BTreeMap<&'static str, Vec<(&'static str, u16)>>,
        addresses: BTreeMap<&'static str, Vec<&'static str>>,
    }

    impl Resolver for Table {
        fn services<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<(String, u16)>, ResolveError>> {
            let records = self.services.get(name).ok_or_else(|| missing(name));
            let records =
                records.map(|records| records.iter().map(|(name, port)| ((*name).to_owned(), *port)).collect());
            Box::pin(std::future::ready(records))
        }

        fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, ResolveError>> {
            let addresses = self.addresses.get(name).ok_or_else(|| missing(name));
            let addresses = addresses.map(|all| all.iter().map(|address| address.parse().unwrap()).collect());
            Box::pin(std::future::ready(addresses))
        }
    }

    fn missing(name: &str) -> ResolveError {
        if name.starts_with("broken") { ResolveError::Failed("SERVFAIL".to_owned()) } else { ResolveError::NotFound }
    }

    async fn found(table: &Table, join: &str) -> Vec<String> {
        discover(table, join, 7379).await.unwrap().iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn literals_are_taken_as_they_are() {
        let table = Table::default();
        assert_eq!(found(&table, "10.0.0.1:9000").await, ["10.0.0.1:9000"]);
        assert_eq!(found(&table, " 10.0.0.1 ").await, ["10.0.0.1:7379"]);
        assert_eq!(found(&table, "[fd00::1]:9000").await, ["[fd00::1]:9000"]);
        assert_eq!(found(&table, "fd00::1").await, ["[fd00::1]:7379"]);
        assert_eq!(found(&table, "[fd00::1]").await, ["[fd00::1]:7379"]);
    }

    #[tokio::test]
    async fn services_come_first_and_bring_their_ports() {
        let services = [("cache", vec![("b.", 7001), ("a.", 7000), ("10.0.0.9.", 7002), ("gone.", 7003)])].into();
        let addresses = [("a.", vec!["10.0.0.2", "10.0.0.1"]), ("b.", vec!["10.0.0.3"]), ("cache", vec!["10.0.0.8"])];
        let table = Table { services, addresses: addresses.into() };
        let expected = ["10.0.0.3:7001", "10.0.0.1:7000", "10.0.0.2:7000", "10.0.0.9:7002"];
        assert_eq!(found(&table, "cache").await, expected);
    }

    #[tokio::test]
    async fn without_services_the_addresses_count() {
        let addresses =
            [("cache", vec!["fd00::1", "10.0.0.2", "10.0.0.1", "10.0.0.2"]), ("broken-srv", vec!["10.0.0.4"])].into();
        let table = Table { addresses, ..Table::default() };
        assert_eq!(found(&table, "cache").await, ["10.0.0.1:7379", "10.0.0.2:7379", "[fd00::1]:7379"]);
        assert_eq!(found(&table, "cache:9000").await, ["10.0.0.1:9000", "10.0.0.2:9000", "[fd00::1]:9000"]);
        assert_eq!(found(&table, "broken-srv").await, ["10.0.0.4:7379"]);
    }

    #[tokio::test]
    async fn the_usual_port_is_chosen_among_all_ports_of_a_pod() {
        let ports = [6379, 7379, 9090];
        let pods = ports.into_iter().flat_map(|port| [("pod-0.", port), ("pod-1.", port)]).collect();
        let addresses = [("pod-0.", vec!["10.0.0.1"]), ("pod-1.", vec!["10.0.0.2"])].into();
        let table = Table { services: [("swytch", pods)].into(), addresses };
        assert_eq!(found(&table, "swytch").await, ["10.0.0.1:7379", "10.0.0.2:7379"]);
    }

    #[tokio::test]
    async fn what_is_not_there_and_what_is_not_known_are_told_apart() {
        let services = [("empty", vec![(".", 1)]), ("lost", vec![("broken.", 1)])].into();
        let table = Table { services, ..Table::default() };
        let failed = Err(ResolveError::Failed("SERVFAIL".to_owned()));
        assert_eq!(discover(&table, "nowhere", 1).await, Err(ResolveError::NotFound));
        assert_eq!(discover(&table, "empty", 1).await, Err(ResolveError::NotFound));
        assert_eq!(discover(&table, "broken", 1).await, failed);
        assert_eq!(discover(&table, "lost", 1).await, failed);
        for invalid in ["name:port", "name:0", "name:70000", "a:1:2"] {
            assert!(matches!(discover(&table, invalid, 1).await, Err(ResolveError::Failed(_))), "{invalid}");
        }
    }

    /// Answers one question as a server with two services at `cluster.test.` would.
    fn answer(request: &Message) -> Message {
        let query = request.queries[0].clone();
        let mut response = Message::response(request.metadata.id, request.metadata.op_code);
        let records = match (query.name().to_utf8().as_str(), query.query_type()) {
            ("cluster.test.", RecordType::SRV) => {
                let service =
                    |priority, port, target| RData::SRV(SRV::new(priority, 1, port, Name::from_utf8(target).unwrap()));
                vec![service(2, 7001, "two.test."), service(1, 7000, "one.test.")]
            }
            ("one.test.", RecordType::A) => vec![RData::A(A::new(10, 0, 0, 1))],
            ("two.test." | "plain.test.", RecordType::A) => vec![RData::A(A::new(10, 0, 0, 2))],
            ("one.test." | "two.test." | "plain.test.", _) => Vec::new(),
            ("broken.test.", _) => {
                response.metadata.response_code = ResponseCode::ServFail;
                Vec::new()
            }
            _ => {
                response.metadata.response_code = ResponseCode::NXDomain;
                Vec::new()
            }
        };
        response.add_answers(records.into_iter().map(|data| Record::from_rdata(query.name().clone(), 60, data)));
        response.add_query(query);
        response
    }

    async fn serve(socket: UdpSocket) {
        let mut buffer = [0; 1500];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            let request = Message::from_vec(&buffer[..length]).unwrap();
            socket.send_to(&answer(&request).to_vec().unwrap(), peer).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_real_server_is_asked() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let resolver = SystemResolver::new(Some(socket.local_addr().unwrap()));
        let questions = async {
            let expected = ["10.0.0.1:7000", "10.0.0.2:7001"].map(|address| address.parse().unwrap());
            assert_eq!(discover(&resolver, "cluster.test", 7379).await.unwrap(), expected);
            let expected = [SocketAddr::from(([10, 0, 0, 2], 7379))];
            assert_eq!(discover(&resolver, "plain.test", 7379).await.unwrap(), expected);
            assert_eq!(discover(&resolver, "missing.test", 7379).await, Err(ResolveError::NotFound));
            assert!(matches!(discover(&resolver, "broken.test", 7379).await, Err(ResolveError::Failed(_))));
            assert!(matches!(discover(&resolver, "not a name..", 7379).await, Err(ResolveError::Failed(_))));
        };
        tokio::select! {
            biased;
            () = questions => {}
            () = serve(socket) => panic!("the server ended"),
        }
    }

    #[tokio::test]
    async fn the_hosts_file_is_honoured() {
        // Nobody answers there: what is found was not asked for.
        let resolver = SystemResolver::new(Some("127.0.0.1:9".parse().unwrap()));
        assert!(resolver.addresses("localhost").await.unwrap().contains(&IpAddr::from([127, 0, 0, 1])));
    }
}
