//! The first byte says how the rest, a client's stream, is cut into pieces.

#![no_main]

use libfuzzer_sys::fuzz_target;
use swytch::resp::{Parsed, Parser, ProtocolError};

/// All requests of a stream that comes in pieces of this size, up to the first error.
fn read(stream: &[u8], piece: usize, authenticated: bool) -> (Vec<Vec<Vec<u8>>>, Option<ProtocolError>) {
    let (mut parser, mut buffer, mut requests) = (Parser::default(), Vec::new(), Vec::new());
    for piece in stream.chunks(piece) {
        buffer.extend_from_slice(piece);
        loop {
            match parser.parse(&buffer, authenticated) {
                Parsed::Incomplete => {
                    assert!(parser.missing(buffer.len()) > 0);
                    break;
                }
                Parsed::Request { consumed } => {
                    assert!(consumed > 0 && consumed <= buffer.len());
                    requests.push(parser.arguments(&buffer).iter().map(<[u8]>::to_vec).collect());
                    parser.shrink();
                    buffer.drain(..consumed);
                }
                Parsed::Error(error) => return (requests, Some(error)),
            }
        }
    }
    (requests, None)
}

fuzz_target!(|input: &[u8]| {
    let Some((&how, stream)) = input.split_first() else { return };
    let authenticated = how & 0x80 == 0;
    let piece = usize::from(how & 0x7f) + 1;
    let whole = read(stream, stream.len().max(1), authenticated);
    assert_eq!(read(stream, piece, authenticated), whole);
});
