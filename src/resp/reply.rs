//! Encoding replies straight into the connection's output buffer.

use super::double;

/// The protocol version that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Protocol {
    /// What a connection starts with.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

/// Appends replies in the client's protocol to a byte buffer.
///
/// Types that RESP2 lacks are sent as RESP2 does it: a map as a flat array, a set as an array, a double and a verbatim
/// string as a bulk string, a boolean as an integer.
#[derive(Debug, Default)]
pub struct Reply {
    bytes: Vec<u8>,
    protocol: Protocol,
}

impl Reply {
    /// An empty buffer for a client of this protocol.
    pub fn new(protocol: Protocol) -> Self {
        Reply { bytes: Vec::new(), protocol }
    }

    /// The protocol of what is appended from now on.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Changes the protocol (HELLO, RESET).
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// What is to be sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The buffer itself: the connection takes from it what it has sent.
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.bytes.extend_from_slice(b"+OK\r\n");
    }

    /// A simple string; `text` has no line break.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// A simple string of any bytes but line breaks.
    pub fn simple_bytes(&mut self, text: &[u8]) {
        self.line(b'+', text);
    }

    /// An error: code and text, e.g. `ERR syntax error`. Line breaks become spaces, as Redis does it.
    pub fn error(&mut self, text: &[u8]) {
        self.bytes.push(b'-');
        self.bytes.extend(text.iter().map(|&byte| if byte == b'\r' || byte == b'\n' { b' ' } else { byte }));
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// An integer.
    pub fn integer(&mut self, value: i64) {
        self.header(b':', value);
    }

    /// A length or count as an integer.
    pub fn count(&mut self, value: usize) {
        self.integer(i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// A bulk string.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.length(b'$', bytes.len());
        self.bytes.reserve(bytes.len() + 2);
        self.bytes.extend_from_slice(bytes);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// A number as a bulk string.
    pub fn bulk_integer(&mut self, value: i64) {
        let mut digits = itoa::Buffer::new();
        self.bulk(digits.format(value).as_bytes());
    }

    /// A bulk string, or null.
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// The null of a string: `$-1` or `_`.
    pub fn null(&mut self) {
        self.bytes.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// The null of an array: `*-1` or `_`.
    pub fn null_array(&mut self) {
        self.bytes.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"*-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// Opens an array of that many replies.
    pub fn array(&mut self, length: usize) {
        self.length(b'*', length);
    }

    /// Opens a map of that many pairs.
    pub fn map(&mut self, pairs: usize) {
        match self.protocol {
            Protocol::Resp2 => self.length(b'*', pairs * 2),
            Protocol::Resp3 => self.length(b'%', pairs),
        }
    }

    /// Opens a set of that many replies.
    pub fn set(&mut self, length: usize) {
        match self.protocol {
            Protocol::Resp2 => self.length(b'*', length),
            Protocol::Resp3 => self.length(b'~', length),
        }
    }

    /// Opens a push message of that many replies (an array in RESP2).
    pub fn push(&mut self, length: usize) {
        match self.protocol {
            Protocol::Resp2 => self.length(b'*', length),
            Protocol::Resp3 => self.length(b'>', length),
        }
    }

    /// A boolean: `#t`, or 1 in RESP2.
    pub fn boolean(&mut self, value: bool) {
        match (self.protocol, value) {
            (Protocol::Resp2, _) => self.integer(i64::from(value)),
            (Protocol::Resp3, true) => self.bytes.extend_from_slice(b"#t\r\n"),
            (Protocol::Resp3, false) => self.bytes.extend_from_slice(b"#f\r\n"),
        }
    }

    /// A float: `,1.5`, or its text in RESP2.
    pub fn double(&mut self, value: f64) {
        match double::whole(value) {
            Some(whole) => self.number(itoa::Buffer::new().format(whole)),
            None => self.number(&double::format_double(value)),
        }
    }

    /// A coordinate: as [`Reply::double`], in another notation.
    pub fn fixed(&mut self, value: f64) {
        self.number(&double::format_fixed(value));
    }

    fn number(&mut self, text: &str) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text.as_bytes()),
            Protocol::Resp3 => self.line(b',', text.as_bytes()),
        }
    }

    /// An integer of any size, or its text in RESP2.
    pub fn big_number(&mut self, digits: &str) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(digits.as_bytes()),
            Protocol::Resp3 => self.line(b'(', digits.as_bytes()),
        }
    }

    /// Opens that many pairs about the reply that follows them. RESP2 has no such thing: nothing is to be written then.
    pub fn attribute(&mut self, pairs: usize) {
        self.length(b'|', pairs);
    }

    /// Text with a format hint (`txt`, `mkd`).
    pub fn verbatim(&mut self, format: [u8; 3], text: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => {
                self.length(b'=', text.len() + 4);
                self.bytes.extend_from_slice(&format);
                self.bytes.push(b':');
                self.bytes.extend_from_slice(text);
                self.bytes.extend_from_slice(b"\r\n");
            }
        }
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(text);
        self.bytes.extend_from_slice(b"\r\n");
    }

    fn length(&mut self, kind: u8, length: usize) {
        if length < 10 {
            self.bytes.extend_from_slice(&[kind, b'0' + length as u8, b'\r', b'\n']);
        } else if length < 100 {
            let (tens, ones) = ((length / 10) as u8, (length % 10) as u8);
            self.bytes.extend_from_slice(&[kind, b'0' + tens, b'0' + ones, b'\r', b'\n']);
        } else {
            let mut digits = itoa::Buffer::new();
            let text = digits.format(length);
            self.line(kind, text.as_bytes());
        }
    }

    fn header(&mut self, kind: u8, value: i64) {
        if (0..10).contains(&value) {
            self.bytes.extend_from_slice(&[kind, b'0' + value as u8, b'\r', b'\n']);
        } else {
            let mut digits = itoa::Buffer::new();
            let text = digits.format(value);
            self.line(kind, text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_reply_in_both_protocols() {
        let write = |protocol| {
            let mut reply = Reply::new(protocol);
            reply.map(1);
            reply.bulk(b"k");
            reply.null();
            reply.set(12);
            reply.boolean(true);
            reply.error(b"ERR a\r\nb");
            reply.integer(-5);
            String::from_utf8(reply.bytes().to_vec()).expect("text")
        };
        assert_eq!(write(Protocol::Resp2), "*2\r\n$1\r\nk\r\n$-1\r\n*12\r\n:1\r\n-ERR a  b\r\n:-5\r\n");
        assert_eq!(write(Protocol::Resp3), "%1\r\n$1\r\nk\r\n_\r\n~12\r\n#t\r\n-ERR a  b\r\n:-5\r\n");
    }
}
