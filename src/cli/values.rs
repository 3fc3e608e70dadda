//! The values of flags: how they are written, and what is said when they are not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::commands::{DebugAccess, parse_memory};
use crate::keyspace::{EventClasses, EvictionPolicy};
use crate::persistence::SavePoints;
use crate::server::SampleRatio;
use crate::server::{BindAddress, LogFormat};
use crate::tls::{ClientAuth, MinVersion};
use crate::trace::Endpoint;

/// The addresses of one `--bind`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BindList(pub(super) Vec<BindAddress>);

/// A whole number within a range.
pub(super) fn whole_number(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("expected a whole number from {} to {}", range.start(), range.end()))
}

/// Who may use DEBUG.
pub(super) fn debug_access(text: &str) -> Result<DebugAccess, String> {
    let all = [DebugAccess::No, DebugAccess::Local, DebugAccess::Yes];
    all.into_iter().find(|access| access.name() == text).ok_or_else(|| "expected no, local or yes".to_string())
}

/// A TCP or UDP port other than 0.
pub(super) fn port(text: &str) -> Result<u16, String> {
    whole_number(text, 1..=u64::from(u16::MAX)).map(|number| number as u16)
}

/// A TCP port, or 0 for none.
pub(super) fn port_or_none(text: &str) -> Result<u16, String> {
    whole_number(text, 0..=u64::from(u16::MAX)).map(|number| number as u16)
}

/// Classes of keyspace notifications, by their letters.
pub(super) fn event_classes(text: &str) -> Result<EventClasses, String> {
    let expected =
        "expected letters out of Ag$lshzxeKEtmdn, with K or E among them: KEA is everything but misses and new keys";
    EventClasses::parse(text.as_bytes()).ok_or_else(|| expected.to_string())
}

/// Which keys are evicted first.
pub(super) fn eviction_policy(text: &str) -> Result<EvictionPolicy, String> {
    let names = EvictionPolicy::ALL.map(EvictionPolicy::name).join(", ");
    EvictionPolicy::named(text.as_bytes()).ok_or_else(|| format!("expected one of {names}"))
}

/// A number of bytes: digits and a unit; kb, mb, gb and tb are powers of 1024, k, m, g and t of 1000, as in Redis.
pub(super) fn size(text: &str) -> Result<usize, String> {
    // What Redis takes for 0 or for the largest number is more likely a slip.
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let bytes = text[..digits].parse::<usize>().ok().and_then(|_| parse_memory(text.as_bytes()));
    bytes.ok_or_else(|| "expected a size such as 64mb; units are b, kb, mb, gb and tb".to_string())
}

/// The budget for the log of a cluster's node. With less than a megabyte, any interruption would be too long.
pub(super) fn log_limit(text: &str) -> Result<usize, String> {
    let limit = size(text)?;
    if limit >= 1 << 20 { Ok(limit) } else { Err("expected a size of at least 1mb".to_string()) }
}

/// Addresses, separated by commas or spaces; a minus sign in front of one makes it optional; `*` stands for all of IPv4
/// and `::*` for all of IPv6, as in Redis.
pub(super) fn bind_list(text: &str) -> Result<BindList, String> {
    let words = text.split([',', ' ', '\t']).filter(|word| !word.is_empty());
    let address = |word: &str| {
        let (word, optional) = word.strip_prefix('-').map_or((word, false), |word| (word, true));
        let address = match word {
            "*" => Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            "::*" => Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
            "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            word => word.parse().ok(),
        };
        address.map(|address| BindAddress { address, optional })
    };
    words.map(address).collect::<Option<_>>().map(BindList).ok_or_else(|| {
        "expected IP addresses of this machine, separated by commas or spaces, or nothing for no TCP".to_string()
    })
}

/// A host name or address, a colon and a port.
pub(super) fn host_and_port(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, number)) if !host.is_empty() && port(number).is_ok() => Ok(text.to_string()),
        _ => Err("expected host:port".to_string()),
    }
}

/// An address and a port; 53 when there is none.
pub(super) fn dns_server(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53));
    address.or_else(|_| text.parse()).map_err(|_| "expected ip:port".to_string())
}

/// Where traces go; nowhere, if it is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OtelEndpoint(pub(super) Option<Endpoint>);

/// The URL of a collector, or nothing.
pub(super) fn otel_endpoint(text: &str) -> Result<OtelEndpoint, String> {
    match text {
        "" => Ok(OtelEndpoint(None)),
        url => Endpoint::parse(url).map(|endpoint| OtelEndpoint(Some(endpoint))).map_err(|error| error.to_string()),
    }
}

/// A share, above 0 and at most 1.
pub(super) fn sample_ratio(text: &str) -> Result<SampleRatio, String> {
    let ratio = text.parse::<f64>().ok().and_then(SampleRatio::new);
    ratio.ok_or_else(|| format!("expected a number from {} to 1", SampleRatio::LEAST))
}

/// What people may call a node: a word that fits on a line, or nothing.
pub(super) fn node_name(text: &str) -> Result<String, String> {
    const LONGEST: usize = 255;
    let is_name = text.len() <= LONGEST && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    if is_name { Ok(text.to_string()) } else { Err(format!("expected a word of at most {LONGEST} bytes")) }
}

/// What this machine is called, or nothing.
pub(super) fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    node_name(&name).unwrap_or_default()
}

/// A DNS name.
pub(super) fn name(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty() && !text.contains(char::is_whitespace);
    if is_name { Ok(text.to_string()) } else { Err("expected a DNS name".to_string()) }
}

/// A directory that is there, by its full name.
pub(super) fn directory(text: &str) -> Result<PathBuf, String> {
    let path = std::fs::canonicalize(text).map_err(|error| format!("expected a directory that is there: {error}"))?;
    if path.is_dir() { Ok(path) } else { Err("expected a directory".to_string()) }
}

/// The name of a file without its directory.
pub(super) fn file_name(text: &str) -> Result<String, String> {
    let is_name = std::path::Path::new(text).file_name().is_some_and(|name| name == text);
    if is_name { Ok(text.to_string()) } else { Err("expected the name of a file, without a directory".to_string()) }
}

/// Pairs of seconds and changes.
pub(super) fn save_points(text: &str) -> Result<SavePoints, String> {
    let expected = "expected pairs of seconds and changes, such as \"3600 1 300 100\", or nothing";
    SavePoints::parse(text.as_bytes()).ok_or_else(|| expected.to_string())
}

/// `text` or `json`.
pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("expected text or json".to_string()),
    }
}

/// `yes`, `no` or `optional`.
pub(super) fn client_auth(text: &str) -> Result<ClientAuth, String> {
    one_of(text, &ClientAuth::NAMES).ok_or_else(|| "expected yes, no or optional".to_string())
}

/// `1.2` or `1.3`.
pub(super) fn tls_version(text: &str) -> Result<MinVersion, String> {
    one_of(text, &MinVersion::NAMES).ok_or_else(|| "expected 1.2 or 1.3".to_string())
}

fn one_of<T: Copy>(text: &str, names: &[(&str, T)]) -> Option<T> {
    names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let cases = [
            ("0", Some(0)),
            ("100", Some(100)),
            ("7B", Some(7)),
            ("1kb", Some(1 << 10)),
            ("64mb", Some(64 << 20)),
            ("4GB", Some(4 << 30)),
            ("2Tb", Some(2 << 40)),
            ("", None),
            ("mb", None),
            ("-1", None),
            ("1.5gb", None),
            ("1 gb", None),
            ("1k", Some(1000)),
            ("99999999999999tb", None),
            ("99999999999999999999", None),
        ];
        for (text, bytes) in cases {
            assert_eq!(size(text).ok(), bytes, "{text}");
        }
    }

    #[test]
    fn addresses() {
        let parsed = |text| bind_list(text).map(|list| list.0.len()).ok();
        assert_eq!(parsed(""), Some(0));
        assert_eq!(parsed("* -::*"), Some(2));
        assert_eq!(parsed("127.0.0.1,localhost, 10.0.0.1"), Some(3));
        assert_eq!(parsed("127.0.0.1:80"), None);
        assert_eq!(dns_server("1.1.1.1").expect("valid").to_string(), "1.1.1.1:53");
        assert_eq!(dns_server("[::1]:5353").expect("valid").port(), 5353);
        assert!(host_and_port("[::1]:7379").is_ok());
        assert!(host_and_port("cache.local:0").is_err());
    }
}
