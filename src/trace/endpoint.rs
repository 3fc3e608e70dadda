//! The collector: where it is, and one request to it over HTTP.
//!
//! Whatever answers there is not trusted: it gets little time, and only the first line of what it says is looked at.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// The port of OTLP over HTTP.
const DEFAULT_PORT: u16 = 4318;
/// The path of spans, where the URL names none.
const DEFAULT_PATH: &str = "/v1/traces";
/// A collector that takes longer for any step is down.
const PATIENCE: Duration = Duration::from_secs(3);
/// So much of an answer is read, in bytes: its first line.
const LONGEST_ANSWER: u64 = 512;

/// Why there can be no collector at such a URL. Displayed as what an operator should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// TLS is not spoken.
    #[error(
        "https is not spoken: give the http:// address of a collector on this machine or network, which can forward over TLS"
    )]
    Https,
    /// It does not begin as a URL.
    #[error("must be a URL such as http://127.0.0.1:4318")]
    NotAUrl,
    /// There is no host.
    #[error("names no host; it must be a URL such as http://127.0.0.1:4318")]
    NoHost,
    /// The port is none.
    #[error("has a port that is none; it must be a URL such as http://127.0.0.1:4318")]
    BadPort,
}

/// Why the collector did not take what it was sent.
#[derive(Debug)]
pub(super) enum NotTaken {
    /// It is not there, or busy: it may take it later.
    Now(String),
    /// It never will.
    Ever(String),
}

/// Where a collector is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Without brackets.
    host: String,
    port: u16,
    path: String,
}

impl Endpoint {
    /// Reads a URL: `http://host[:port][/path]`. Without a path it is that of OTLP.
    ///
    /// # Errors
    /// It is no such URL.
    pub fn parse(url: &str) -> Result<Endpoint, EndpointError> {
        let (scheme, rest) = url.split_once("://").ok_or(EndpointError::NotAUrl)?;
        if scheme.eq_ignore_ascii_case("https") {
            return Err(EndpointError::Https);
        }
        // What would end a line of the request, or is written in another way in URLs.
        let is_plain =
            |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'@' | b'?' | b'#' | b'\\' | b'"' | b'<' | b'>');
        if !scheme.eq_ignore_ascii_case("http") || !rest.bytes().all(is_plain) {
            return Err(EndpointError::NotAUrl);
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or(EndpointError::NoHost)?;
                (host, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or(EndpointError::BadPort)?) })
            }
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        if host.is_empty() {
            return Err(EndpointError::NoHost);
        }
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or(EndpointError::BadPort)?,
        };
        let path = if path.is_empty() || path == "/" { DEFAULT_PATH } else { path };
        Ok(Endpoint { host: host.to_owned(), port, path: path.to_owned() })
    }

    /// As a URL.
    pub fn url(&self) -> String {
        format!("http://{}{}", self.authority(), self.path)
    }

    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Sends one request.
    pub(super) fn post(&self, body: &[u8]) -> Result<(), NotTaken> {
        let answer = self.exchange(body).map_err(|error| NotTaken::Now(error.to_string()))?;
        let line = answer.split(|byte| *byte == b'\r' || *byte == b'\n').next().unwrap_or_default();
        let line: String =
            String::from_utf8_lossy(line).chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse::<u16>().ok());
        match status {
            Some(200..=299) => Ok(()),
            // OTLP's list of what to try again.
            Some(429 | 502 | 503 | 504) => Err(NotTaken::Now(line)),
            Some(_) => Err(NotTaken::Ever(line)),
            None => Err(NotTaken::Now("what answers there speaks no HTTP".to_owned())),
        }
    }

    fn exchange(&self, body: &[u8]) -> io::Result<Vec<u8>> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "its name leads nowhere");
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => return self.send(stream, body),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn send(&self, mut stream: TcpStream, body: &[u8]) -> io::Result<Vec<u8>> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: swytch/{}\r\nContent-Type: application/x-protobuf\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.path,
            self.authority(),
            env!("CARGO_PKG_VERSION"),
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        let mut limited = stream.take(LONGEST_ANSWER);
        let mut piece = [0; 256];
        // Not to the end of the answer: a collector may keep the connection open all the same.
        while !answer.contains(&b'\n') {
            match limited.read(&mut piece)? {
                0 => break,
                length => answer.extend_from_slice(&piece[..length]),
            }
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_say_where_the_collector_is() {
        for (url, expected) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://collector", "http://collector:4318/v1/traces"),
            ("HTTP://collector:80/", "http://collector:80/v1/traces"),
            ("http://[::1]:9/own/path", "http://[::1]:9/own/path"),
            ("http://[::1]", "http://[::1]:4318/v1/traces"),
        ] {
            assert_eq!(Endpoint::parse(url).expect(url).url(), expected);
        }
    }

    #[test]
    fn what_is_no_such_url_is_refused_with_a_reason() {
        for (url, error) in [
            ("", EndpointError::NotAUrl),
            ("collector:4318", EndpointError::NotAUrl),
            ("ftp://collector", EndpointError::NotAUrl),
            ("http://a b", EndpointError::NotAUrl),
            ("http://a\r\nX: y", EndpointError::NotAUrl),
            ("http://user@host", EndpointError::NotAUrl),
            ("https://collector", EndpointError::Https),
            ("http://", EndpointError::NoHost),
            ("http://:4318", EndpointError::NoHost),
            ("http://[::1", EndpointError::NoHost),
            ("http://[::1]4318", EndpointError::BadPort),
            ("http://a:0", EndpointError::BadPort),
            ("http://a:65536", EndpointError::BadPort),
            ("http://a:b", EndpointError::BadPort),
            ("http://::1", EndpointError::NoHost),
        ] {
            assert_eq!(Endpoint::parse(url), Err(error), "{url}");
        }
    }
}
