//! The payloads of DUMP and RESTORE, also those of FUNCTION: the type byte, the value, the version of the format (2 bytes, little endian), and the
//! CRC-64 of all that (8 bytes, little endian).
//!
//! RESTORE of redis-server 7.0 also refuses a checksum of zero, which in an RDB file means that there is none. It lets
//! bytes behind the value pass; here they are refused, since nothing that dumps writes any.

use crc::{CRC_64_REDIS, Crc, Table};

use super::{RdbError, RdbValue, Reader, decode_value, encode_value, type_byte, types, write_string};

/// The newest version of the format that is read: that of Redis 7.4.
pub const NEWEST_VERSION: u16 = 12;
/// The version of what is written, if it is nothing that only Redis 7.4 reads: that of Redis 7.0.
pub const WRITTEN_VERSION: u16 = 10;
const FOOTER_BYTES: usize = 10;

/// The checksum of payloads and of files: CRC-64 with the polynomial of Jones, reflected, from and to zero.
pub static CHECKSUM: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

/// What DUMP answers for this value.
pub fn dump_payload(value: &RdbValue) -> Vec<u8> {
    let type_byte = type_byte(value);
    let mut payload = vec![type_byte];
    encode_value(value, &mut payload);
    let version = if type_byte == types::HASH_METADATA { NEWEST_VERSION } else { WRITTEN_VERSION };
    payload.extend_from_slice(&version.to_le_bytes());
    let checksum = CHECKSUM.checksum(&payload);
    payload.extend_from_slice(&checksum.to_le_bytes());
    payload
}

/// The value of a payload, from here or from any Redis up to 7.4.
///
/// # Errors
/// [`RdbError::Version`] and [`RdbError::Checksum`] if this is not a payload, or not one that can be read; others if its
/// value is malformed, too large or of a module.
pub fn load_payload(payload: &[u8]) -> Result<RdbValue, RdbError> {
    let mut reader = Reader::new(contents(payload)?);
    let type_byte = reader.byte()?;
    let value = decode_value(type_byte, &mut reader)?;
    if reader.remaining() > 0 {
        return Err(RdbError::Invalid("bytes after the end of a value"));
    }
    Ok(value)
}

/// The byte before the code of a library, in payloads and in files.
pub const LIBRARY: u8 = 245;

/// What FUNCTION DUMP answers for these libraries, each by its code.
pub fn dump_libraries<'c>(codes: impl Iterator<Item = &'c [u8]>) -> Vec<u8> {
    let mut payload = Vec::new();
    for code in codes {
        payload.push(LIBRARY);
        write_string(&mut payload, code);
    }
    payload.extend_from_slice(&WRITTEN_VERSION.to_le_bytes());
    let checksum = CHECKSUM.checksum(&payload);
    payload.extend_from_slice(&checksum.to_le_bytes());
    payload
}

/// The libraries of a payload of FUNCTION DUMP, from here or from any Redis from 7.0 on.
///
/// # Errors
/// [`RdbError::Version`] and [`RdbError::Checksum`] if this is not a payload, or not one that can be read; others if it has
/// something else than libraries in it.
pub fn load_libraries(payload: &[u8]) -> Result<Vec<Vec<u8>>, RdbError> {
    let mut reader = Reader::new(contents(payload)?);
    let mut codes = Vec::new();
    while reader.remaining() > 0 {
        match reader.byte()? {
            LIBRARY => codes.push(reader.string()?),
            other => return Err(RdbError::UnknownType(other)),
        }
    }
    Ok(codes)
}

/// What is before the footer, which must be right.
fn contents(payload: &[u8]) -> Result<&[u8], RdbError> {
    let (version, checksum) = footer(payload).ok_or(RdbError::Checksum)?;
    if version > NEWEST_VERSION {
        return Err(RdbError::Version(version));
    }
    if checksum != CHECKSUM.checksum(&payload[..payload.len() - 8]) {
        return Err(RdbError::Checksum);
    }
    Ok(&payload[..payload.len() - FOOTER_BYTES])
}

fn footer(payload: &[u8]) -> Option<(u16, u64)> {
    let (rest, checksum) = payload.split_last_chunk()?;
    let (_, version) = rest.split_last_chunk()?;
    Some((u16::from_le_bytes(*version), u64::from_le_bytes(*checksum)))
}
