//! A Redis client on turmoil's TCP: one request at a time, each with a time limit, as a connection that a partition has
//! cut never says so.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use turmoil::net::TcpStream;

/// How long connecting, or one answer, may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// After so long without a word, whoever waits for one takes the connection for dead.
const LONG_SILENCE: Duration = Duration::from_secs(2);

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `+…`
    Simple(String),
    /// `-…`
    Error(String),
    /// `:…`
    Integer(i64),
    /// `$…`; `None` for nil.
    Text(Option<String>),
    /// `*…`
    List(Vec<Answer>),
}

impl Answer {
    /// The texts of a list.
    pub fn texts(&self) -> Vec<&str> {
        match self {
            Answer::List(answers) => answers
                .iter()
                .filter_map(|answer| match answer {
                    Answer::Text(Some(text)) => Some(text.as_str()),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody is there, or does not answer in time.
    pub async fn connect(address: SocketAddr) -> io::Result<Client> {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await??;
        Ok(Client { stream, input: Vec::new() })
    }

    /// Sends one command and waits for its answer. After an error the connection is of no use any more.
    ///
    /// # Errors
    /// When the connection broke, the answer makes no sense, or did not come in time.
    pub async fn call(&mut self, words: &[&str]) -> io::Result<Answer> {
        timeout(PATIENCE, self.exchange(words)).await?
    }

    /// Waits for something that was not asked for.
    ///
    /// # Errors
    /// When the connection broke, or nothing came for long.
    pub async fn next(&mut self) -> io::Result<Answer> {
        timeout(LONG_SILENCE, self.receive()).await?
    }

    async fn exchange(&mut self, words: &[&str]) -> io::Result<Answer> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.write_all(request.as_bytes()).await?;
        self.receive().await
    }

    async fn receive(&mut self) -> io::Result<Answer> {
        loop {
            if let Some((answer, length)) = parse(&self.input)? {
                self.input.drain(..length);
                return Ok(answer);
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// The first answer in `input` and its length; `None` while it is incomplete.
fn parse(input: &[u8]) -> io::Result<Option<(Answer, usize)>> {
    let Some(end) = input.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
    let line = std::str::from_utf8(&input[..end]).map_err(invalid)?;
    let mut length = end + 2;
    let (kind, rest) = line.split_at_checked(1).ok_or_else(|| invalid("an empty line"))?;
    let answer = match kind {
        "+" => Answer::Simple(rest.to_owned()),
        "-" => Answer::Error(rest.to_owned()),
        ":" => Answer::Integer(rest.parse().map_err(invalid)?),
        "$" if rest == "-1" => Answer::Text(None),
        "$" => {
            let size: usize = rest.parse().map_err(invalid)?;
            let Some(text) = input.get(length..length + size + 2) else { return Ok(None) };
            length += size + 2;
            Answer::Text(Some(String::from_utf8(text[..size].to_vec()).map_err(invalid)?))
        }
        "*" => {
            let mut answers = Vec::new();
            for _ in 0..rest.parse::<usize>().map_err(invalid)? {
                let Some((answer, more)) = parse(&input[length..])? else { return Ok(None) };
                length += more;
                answers.push(answer);
            }
            Answer::List(answers)
        }
        _ => return Err(invalid("an unknown kind of answer")),
    };
    Ok(Some((answer, length)))
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_when_complete() {
        let whole = b"*3\r\n:5\r\n$2\r\nab\r\n$-1\r\n+rest";
        let list = Answer::List(vec![Answer::Integer(5), Answer::Text(Some("ab".to_owned())), Answer::Text(None)]);
        assert_eq!(parse(whole).unwrap(), Some((list, whole.len() - 5)));
        for end in 0..whole.len() - 5 {
            assert_eq!(parse(&whole[..end]).unwrap(), None);
        }
        assert_eq!(parse(b"-ERR no\r\n").unwrap(), Some((Answer::Error("ERR no".to_owned()), 9)));
        assert!(parse(b"?\r\n").is_err());
    }
}
