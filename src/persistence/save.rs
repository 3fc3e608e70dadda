//! Writing a cut to a file.
//!
//! The file comes into being beside its place, under a temporary name, and takes the place of the one before only when all of
//! it is on the disk: whoever opens it finds the old one or the new one, whatever happens in between.

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use crc::{Digest, Table};

use super::form::encode_about;
use super::format::{MAGIC, opcode};
use crate::keyspace::{Cut, CutError};
use crate::rdb::{CHECKSUM, NEWEST_VERSION, WRITTEN_VERSION, write_length, write_string};

/// Written at once.
const BUFFER_BYTES: usize = 256 << 10;
/// After so many bytes they are brought to the disk, so that the end does not wait for all of them.
const SYNC_BYTES: u64 = 32 << 20;

/// Why a file was not written. Displayed as one line that names it.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The system refused.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The data could not be handed out.
    #[error("cannot save to {path}: {source}")]
    Cut {
        /// Where to.
        path: PathBuf,
        /// Why.
        source: CutError,
    },
    /// The process ends, or wants to write another file first.
    #[error("saving to {path} was given up")]
    Cancelled {
        /// Where to.
        path: PathBuf,
    },
}

/// What is said about a file within it.
#[derive(Clone, Debug)]
pub struct About {
    /// Seconds since the epoch.
    pub created: u64,
    /// Bytes of data.
    pub memory: usize,
    /// The version of Redis that this server is like.
    pub redis_version: &'static str,
}

/// Writes all of a cut to `path`, in the place of whatever is there. `go_on` hears of the number of keys so far and says
/// whether to go on. Returns the bytes of the file.
///
/// # Errors
/// See [`SaveError`]. What is at `path` is as it was then.
pub fn write_file(
    cut: &mut Cut,
    about: &About,
    path: &Path,
    go_on: &mut dyn FnMut(u64) -> bool,
) -> Result<u64, SaveError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = directory.join(format!("temp-{}.rdb", std::process::id()));
    let failed = |action, at: &Path| {
        let path = at.to_owned();
        move |source| SaveError::File { action, path, source }
    };
    let file = File::create(&temporary).map_err(failed("create", &temporary))?;
    let written = write_cut(cut, about, file, &temporary, path, go_on).and_then(|bytes| {
        fs::rename(&temporary, path).map_err(failed("replace", path))?;
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(failed("bring to the disk", directory))?;
        Ok(bytes)
    });
    if written.is_err() {
        // What fails here failed before, and that is what is told.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write_cut(
    cut: &mut Cut,
    about: &About,
    file: File,
    temporary: &Path,
    path: &Path,
    go_on: &mut dyn FnMut(u64) -> bool,
) -> Result<u64, SaveError> {
    let failed = |source| SaveError::File { action: "write", path: temporary.to_owned(), source };
    let mut writer = FileWriter::new(file);
    writer.write(&header(cut, about)).map_err(failed)?;
    let (mut piece, mut select) = (Vec::new(), Vec::new());
    let mut sizes_written = vec![false; cut.sizes().len()];
    let mut current = None;
    loop {
        piece.clear();
        let number = cut.next_piece(&mut piece);
        let number = number.map_err(|source| SaveError::Cut { path: path.to_owned(), source })?;
        let Some(number) = number else { break };
        if current != Some(number) {
            current = Some(number);
            select.clear();
            select.push(opcode::DATABASE);
            write_length(&mut select, u64::from(number));
            if !std::mem::replace(&mut sizes_written[number as usize], true) {
                let size = cut.sizes()[number as usize];
                select.push(opcode::SIZES);
                write_length(&mut select, size.keys as u64);
                write_length(&mut select, size.with_deadline as u64);
            }
            writer.write(&select).map_err(failed)?;
        }
        writer.write(&piece).map_err(failed)?;
        if !go_on(cut.keys()) {
            return Err(SaveError::Cancelled { path: path.to_owned() });
        }
    }
    writer.finish().map_err(failed)
}

/// A file with a hash whose fields expire is one of Redis 7.4; all others Redis 7.0 can load.
fn header(cut: &Cut, about: &About) -> Vec<u8> {
    let version = if cut.has_ending_fields() { NEWEST_VERSION } else { WRITTEN_VERSION };
    let mut header = [MAGIC, format!("{version:04}").as_bytes()].concat();
    encode_about("redis-ver", about.redis_version, &mut header);
    encode_about("redis-bits", &usize::BITS.to_string(), &mut header);
    encode_about("ctime", &about.created.to_string(), &mut header);
    encode_about("used-mem", &about.memory.to_string(), &mut header);
    encode_about("aof-base", "0", &mut header);
    encode_about("swytch-ver", env!("CARGO_PKG_VERSION"), &mut header);
    for code in cut.libraries().values() {
        header.push(opcode::FUNCTIONS);
        write_string(&mut header, code);
    }
    header
}

/// A file with a checksum at its end.
struct FileWriter {
    file: File,
    buffer: Vec<u8>,
    checksum: Digest<'static, u64, Table<16>>,
    written: u64,
    synced: u64,
}

impl FileWriter {
    fn new(file: File) -> FileWriter {
        let checksum = CHECKSUM.digest();
        FileWriter { file, buffer: Vec::with_capacity(BUFFER_BYTES), checksum, written: 0, synced: 0 }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        if bytes.len() > BUFFER_BYTES {
            return self.put(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        self.put(&buffer)?;
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.checksum.update(bytes);
        self.file.write_all(bytes)?;
        self.written += bytes.len() as u64;
        if self.written - self.synced >= SYNC_BYTES {
            self.synced = self.written;
            self.file.sync_data()?;
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<u64> {
        self.write(&[opcode::END])?;
        self.flush()?;
        self.file.write_all(&self.checksum.finalize().to_le_bytes())?;
        self.file.sync_all()?;
        self.file.stream_position()
    }
}
