//! The input is a frame, a frame of messages, and an effect.

#![no_main]

use std::sync::Arc;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use swytch::effects::{Effect, OperationsWriter};
use swytch::pubsub::{decode_messages, encode_messages};
use swytch::replication::Frame;

/// All of what a decoded effect says can be written, and is the same when it is read again.
fn check_effect(encoded: Bytes) {
    let Ok(effect) = Effect::decode(encoded) else { return };
    let mut body = OperationsWriter::default();
    effect.operations().for_each(|operation| body.push(operation));
    let mut again = Vec::new();
    let acts_on = effect.acts_on.as_ref();
    Effect::encode(&mut again, effect.dot, effect.time, &effect.seen_changes, acts_on, body.bytes());
    let again = Effect::decode(Bytes::from(again)).expect("what is written can be read");
    assert_eq!((again.dot, again.time), (effect.dot, effect.time));
    assert_eq!((&again.seen_changes, &again.acts_on), (&effect.seen_changes, &effect.acts_on));
    assert!(again.operations().eq(effect.operations()));
}

fuzz_target!(|input: &[u8]| {
    let input = Bytes::copy_from_slice(input);
    check_effect(input.clone());
    // No messages make no frame.
    if let Ok(messages) = decode_messages(&input)
        && !messages.is_empty()
    {
        let again = encode_messages(&messages.iter().cloned().map(Arc::new).collect::<Vec<_>>());
        let again = again.expect("it is as long as the input at most").concat();
        assert_eq!(decode_messages(&Bytes::from(again)), Ok(messages));
    }
    let Ok(frame) = Frame::decode(input) else { return };
    assert_eq!(Frame::decode(Bytes::from(frame.encode().concat())).as_ref(), Ok(&frame));
    if let Frame::Effects(effects) = frame {
        effects.into_iter().for_each(check_effect);
    }
});
