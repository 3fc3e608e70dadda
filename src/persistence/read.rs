//! Reading an RDB file item by item, with no more of it in memory than one value.
//!
//! Nobody trusts the file: it may end anywhere and hold anything. Memory grows with what was read, never with what a length
//! claims; a value may become a hundred times as large as its bytes in the file (compression does that), not more.

use std::io::{self, Read};

use crc::{Digest, Table};

use super::format::{FIRST_WITH_CHECKSUM, HEADER_BYTES, module_part, opcode, version_of};
use crate::keyspace::Millis;
use crate::rdb::{
    CHECKSUM, MAX_DECODED_BYTES, NEWEST_VERSION, RdbError, RdbValue, Reader, Source, copy_string, copy_value,
    decode_value, read_length,
};

/// Read at once.
const BUFFER_BYTES: usize = 256 << 10;
/// What a value may take in memory for each of its bytes in the file. The most that compression and small elements do is
/// below that.
const MOST_EXPANSION: usize = 100;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system cannot read it.
    #[error("{0}")]
    System(#[from] io::Error),
    /// Not the first bytes of an RDB file.
    #[error("it is no RDB file of a version up to {NEWEST_VERSION}")]
    Header,
    /// A value, or what stands between values.
    #[error("it is damaged: {0}")]
    Format(#[from] RdbError),
    /// It ends too early.
    #[error("it is damaged: it ends too early")]
    Truncated,
    /// It does not end where it should.
    #[error("it is damaged: there is more behind its end")]
    Trailing,
    /// Bytes have changed since it was written.
    #[error("it is damaged: its checksum is wrong")]
    Checksum,
    /// A value that only a module of Redis understands.
    #[error("the key '{0}' holds a value of a Redis module, which cannot be read")]
    ModuleValue(String),
    /// A value that cannot be read.
    #[error("it is damaged: the value of the key '{0}': {1}")]
    Value(String, RdbError),
    /// Functions as no release of Redis wrote them.
    #[error("it has functions in a form that only release candidates of Redis 7.0 wrote")]
    OldFunctions,
}

/// One key.
#[derive(Debug)]
pub struct FileKey {
    /// The number of its database.
    pub database: u64,
    /// Its name.
    pub name: Vec<u8>,
    /// What it holds.
    pub value: RdbValue,
    /// When it ends, if ever.
    pub deadline: Option<Millis>,
    /// For how many seconds it was not used.
    pub idle: Option<u64>,
    /// How often it is used.
    pub frequency: Option<u8>,
}

/// What was passed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassedOver {
    /// Libraries of functions without a name.
    pub libraries: u64,
    /// What modules keep beside the keys.
    pub module_data: u64,
}

/// See the module's text.
pub struct FileReader<R> {
    input: Input<R>,
    version: u16,
    database: u64,
    /// What was passed over so far.
    pub passed_over: PassedOver,
    /// The code of libraries of functions that were read so far.
    pub libraries: Vec<Vec<u8>>,
    encoded: Vec<u8>,
}

impl<R: Read> FileReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// It is none, or of a version that is not known.
    pub fn open(source: R) -> Result<FileReader<R>, ReadError> {
        let mut input = Input {
            source,
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            counted: 0,
            before: 0,
            checksum: CHECKSUM.digest(),
        };
        let mut header = Vec::new();
        match input.append(HEADER_BYTES, &mut header) {
            Err(ReadError::Truncated) => return Err(ReadError::Header),
            outcome => outcome?,
        }
        let version = version_of(&header).ok_or(ReadError::Header)?;
        Ok(FileReader {
            input,
            version,
            database: 0,
            passed_over: PassedOver::default(),
            libraries: Vec::new(),
            encoded: Vec::new(),
        })
    }

    /// How many bytes were read.
    pub fn position(&self) -> u64 {
        self.input.before + self.input.start as u64
    }

    /// The next key; `None` at the end, when the checksum is right.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn next_key(&mut self) -> Result<Option<FileKey>, ReadError> {
        let (mut deadline, mut idle, mut frequency) = (None, None, None);
        loop {
            match self.input.byte()? {
                opcode::DEADLINE_SECONDS => {
                    let seconds = i32::from_le_bytes(self.input.array()?);
                    deadline = Some(u64::try_from(seconds).unwrap_or(0) * 1000);
                }
                opcode::DEADLINE_MILLISECONDS => {
                    deadline = Some(u64::try_from(i64::from_le_bytes(self.input.array()?)).unwrap_or(0));
                }
                opcode::IDLE => idle = Some(read_length(&mut self.input)?),
                opcode::FREQUENCY => frequency = Some(self.input.byte()?),
                opcode::DATABASE => self.database = read_length(&mut self.input)?,
                opcode::SIZES => self.pass_lengths(2)?,
                opcode::SLOT_SIZES => self.pass_lengths(3)?,
                opcode::ABOUT => {
                    self.pass_string()?;
                    self.pass_string()?;
                }
                opcode::OF_MODULE => {
                    // Which module, and when in the file this stands: before or behind the keys.
                    self.pass_lengths(3)?;
                    self.pass_module_data()?;
                    self.passed_over.module_data += 1;
                }
                opcode::FUNCTIONS => {
                    self.encoded.clear();
                    copy_string(&mut self.input, &mut self.encoded)?;
                    self.libraries.push(Reader::new(&self.encoded).string()?);
                }
                opcode::FUNCTIONS_OF_CANDIDATES => return Err(ReadError::OldFunctions),
                opcode::END => return self.end().map(|()| None),
                type_byte => {
                    let (name, value) = self.read_key(type_byte)?;
                    return Ok(Some(FileKey { database: self.database, name, value, deadline, idle, frequency }));
                }
            }
        }
    }

    fn read_key(&mut self, type_byte: u8) -> Result<(Vec<u8>, RdbValue), ReadError> {
        self.encoded.clear();
        copy_string(&mut self.input, &mut self.encoded)?;
        let name = Reader::new(&self.encoded).string()?;
        let shown = || String::from_utf8_lossy(&name[..name.len().min(100)]).into_owned();
        if opcode::MODULE_VALUES.contains(&type_byte) {
            return Err(ReadError::ModuleValue(shown()));
        }
        self.encoded.clear();
        let copied = copy_value(type_byte, &mut self.input, &mut self.encoded);
        copied.map_err(|error| match error {
            ReadError::Format(error) => ReadError::Value(shown(), error),
            error => error,
        })?;
        let budget = self.encoded.len().saturating_mul(MOST_EXPANSION).max(MAX_DECODED_BYTES);
        let mut reader = Reader::with_budget(&self.encoded, budget);
        let value = decode_value(type_byte, &mut reader).map_err(|error| ReadError::Value(shown(), error))?;
        if reader.remaining() > 0 {
            return Err(ReadError::Value(shown(), RdbError::Invalid("bytes after its end")));
        }
        // One large value is no reason to keep so much memory.
        if self.encoded.capacity() > 16 * BUFFER_BYTES {
            self.encoded = Vec::new();
        }
        Ok((name, value))
    }

    fn end(&mut self) -> Result<(), ReadError> {
        if self.version >= FIRST_WITH_CHECKSUM {
            let found = self.input.checksum();
            let written = u64::from_le_bytes(self.input.array()?);
            // Redis writes 0 when it was told not to compute one.
            if written != 0 && written != found {
                return Err(ReadError::Checksum);
            }
        }
        match self.input.byte() {
            Err(ReadError::Truncated) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(ReadError::Trailing),
        }
    }

    fn pass_lengths(&mut self, count: usize) -> Result<(), ReadError> {
        (0..count).try_for_each(|_| read_length(&mut self.input).map(drop))
    }

    fn pass_string(&mut self) -> Result<(), ReadError> {
        self.encoded.clear();
        copy_string(&mut self.input, &mut self.encoded)
    }

    fn pass_module_data(&mut self) -> Result<(), ReadError> {
        loop {
            match read_length(&mut self.input)? {
                module_part::END => return Ok(()),
                module_part::SIGNED | module_part::UNSIGNED => self.pass_lengths(1)?,
                module_part::FLOAT => drop(self.input.array::<4>()?),
                module_part::DOUBLE => drop(self.input.array::<8>()?),
                module_part::STRING => self.pass_string()?,
                _ => return Err(RdbError::Invalid("the data of a module in an unknown form").into()),
            }
        }
    }
}

/// Bytes with a checksum.
struct Input<R> {
    source: R,
    buffer: Vec<u8>,
    /// What was taken of the buffer, and how far it is filled.
    start: usize,
    end: usize,
    /// Up to here the buffer is in the checksum.
    counted: usize,
    /// Bytes before the buffer.
    before: u64,
    checksum: Digest<'static, u64, Table<16>>,
}

impl<R: Read> Input<R> {
    fn byte(&mut self) -> Result<u8, ReadError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let mut bytes = [0; N];
        let mut filled = 0;
        while filled < N {
            let available = self.available()?;
            let count = available.len().min(N - filled);
            bytes[filled..filled + count].copy_from_slice(&available[..count]);
            self.start += count;
            filled += count;
        }
        Ok(bytes)
    }

    /// What is in the buffer, which is filled when there is nothing.
    fn available(&mut self) -> Result<&[u8], ReadError> {
        if self.start == self.end {
            self.count();
            self.before += self.end as u64;
            (self.start, self.end, self.counted) = (0, 0, 0);
            self.end = loop {
                match self.source.read(&mut self.buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    outcome => break outcome?,
                }
            };
            if self.end == 0 {
                return Err(ReadError::Truncated);
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn count(&mut self) {
        self.checksum.update(&self.buffer[self.counted..self.start]);
        self.counted = self.start;
    }

    /// The checksum of all that was taken.
    fn checksum(&mut self) -> u64 {
        self.count();
        self.checksum.clone().finalize()
    }
}

impl<R: Read> Source for Input<R> {
    type Error = ReadError;

    fn append(&mut self, count: usize, out: &mut Vec<u8>) -> Result<(), ReadError> {
        let mut left = count;
        while left > 0 {
            let available = self.available()?;
            let taken = available.len().min(left);
            out.extend_from_slice(&available[..taken]);
            self.start += taken;
            left -= taken;
        }
        Ok(())
    }
}
