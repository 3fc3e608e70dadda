//! The wire form of what happens to the members of sorted sets. A score is the eight bytes of its float, little endian.

use super::Action;
use crate::effects::{CodecError, Reader, Score, write_bytes};

pub const FIRST: u8 = SET;
pub const LAST: u8 = REMOVE;

const SET: u8 = 32;
const ADD: u8 = 33;
const MAX: u8 = 34;
const MIN: u8 = 35;
const REMOVE: u8 = 36;

pub fn write(out: &mut Vec<u8>, action: Action<'_>) {
    let (tag, member, score) = match action {
        Action::ScoreSet { member, score } => (SET, member, Some(score)),
        Action::ScoreAdd { member, increment } => (ADD, member, Some(increment)),
        Action::ScoreMax { member, score } => (MAX, member, Some(score)),
        Action::ScoreMin { member, score } => (MIN, member, Some(score)),
        Action::ScoreRemove { member } => (REMOVE, member, None),
        _ => unreachable!("not an action on a sorted set"),
    };
    out.push(tag);
    write_bytes(out, member);
    if let Some(score) = score {
        out.extend_from_slice(&score.get().to_le_bytes());
    }
}

pub fn read<'a>(tag: u8, reader: &mut Reader<'a>) -> Result<Action<'a>, CodecError> {
    let member = reader.bytes()?;
    Ok(match tag {
        SET => Action::ScoreSet { member, score: read_score(reader)? },
        ADD => Action::ScoreAdd { member, increment: read_score(reader)? },
        MAX => Action::ScoreMax { member, score: read_score(reader)? },
        MIN => Action::ScoreMin { member, score: read_score(reader)? },
        REMOVE => Action::ScoreRemove { member },
        unknown => return Err(CodecError::UnknownTag(unknown)),
    })
}

fn read_score(reader: &mut Reader<'_>) -> Result<Score, CodecError> {
    Score::try_from(f64::from_bits(reader.fixed64()?)).map_err(|_| CodecError::Invalid("a score that is not a number"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::check_wire_form;
    use super::super::{Operations, OperationsWriter};
    use super::*;
    use crate::effects::Operation;

    #[test]
    fn every_action_has_its_wire_form() {
        let score = Score::try_from(-1.5).expect("a number");
        check_wire_form(&[
            (Action::ScoreSet { member: b"m", score }, &[32, 1, b'm', 0, 0, 0, 0, 0, 0, 0xf8, 0xbf]),
            (Action::ScoreAdd { member: b"m", increment: score }, &[33, 1, b'm', 0, 0, 0, 0, 0, 0, 0xf8, 0xbf]),
            (Action::ScoreMax { member: b"", score: Score::ZERO }, &[34, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            (Action::ScoreMin { member: b"m", score }, &[35, 1, b'm', 0, 0, 0, 0, 0, 0, 0xf8, 0xbf]),
            (Action::ScoreRemove { member: b"m" }, &[36, 1, b'm']),
        ]);
    }

    #[test]
    fn nan_is_refused() {
        let mut writer = OperationsWriter::default();
        let action = Action::ScoreSet { member: b"m", score: Score::ZERO };
        writer.push(Operation::Key { database: 0, key: b"k", action });
        let mut bytes = writer.bytes().to_vec();
        let at = bytes.len() - 8;
        bytes[at..].copy_from_slice(&f64::NAN.to_le_bytes());
        let read: Vec<_> = Operations::new(&bytes).collect();
        assert_eq!(read, [Err(CodecError::Invalid("a score that is not a number"))]);
    }
}
