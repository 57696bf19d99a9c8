//! How kernels' accesses to shared memory meet in its 32 banks, counted: see `kernels/emu/banks.cpp`.

use std::ffi::{CStr, c_char, c_int};

/// Accesses to shared memory from one place in a kernel's sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedAccesses {
    /// The kernel.
    pub kernel: String,
    /// `read` or `write` of an element, or the primitive of `device.cuh`.
    pub what: String,
    /// The file as it was included.
    pub file: String,
    /// Its line.
    pub line: u32,
    /// Instructions of a warp.
    pub instructions: u64,
    /// Passes that they take: one serves a word of each bank.
    pub passes: u64,
    /// Of these, what goes beyond one for each 128 bytes that the lanes ask for.
    pub conflicts: u64,
    /// The most words that one pass asks of a bank: 1 without a conflict.
    pub worst: u32,
}

impl SharedAccesses {
    fn is_of(&self, other: &Self) -> bool {
        let place = |a: &Self| (a.kernel.clone(), a.what.clone(), a.file.clone(), a.line);
        place(self) == place(other)
    }
}

/// Counts of all launches so far.
#[derive(Debug, Default)]
pub(super) struct Banks(Vec<SharedAccesses>);

impl Banks {
    /// Adds what this thread's last launch counted.
    pub(super) fn add_last(&mut self, kernel: &str) {
        for new in last(kernel) {
            match self.0.iter_mut().find(|known| known.is_of(&new)) {
                Some(known) => {
                    known.instructions += new.instructions;
                    known.passes += new.passes;
                    known.conflicts += new.conflicts;
                    known.worst = known.worst.max(new.worst);
                }
                None => self.0.push(new),
            }
        }
    }

    /// Hands them over, and begins anew.
    pub(super) fn take(&mut self) -> Vec<SharedAccesses> {
        std::mem::take(&mut self.0)
    }
}

fn last(kernel: &str) -> Vec<SharedAccesses> {
    let line = |index| {
        let mut raw = RawLine::default();
        // SAFETY: writes one line, whose strings live for ever, or nothing.
        let is_there = unsafe { rnnx_emu_bank_line(index, &mut raw) } != 0;
        is_there.then(|| SharedAccesses {
            kernel: kernel.to_owned(),
            what: text(raw.what),
            file: text(raw.file),
            line: raw.line,
            instructions: raw.instructions,
            passes: raw.passes,
            conflicts: raw.conflicts,
            worst: raw.worst,
        })
    };
    (0..).map_while(line).collect()
}

fn text(at: *const c_char) -> String {
    // SAFETY: a string literal of the kernels' sources.
    unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned()
}

/// `emu::BankLine` of `kernels/emu/banks.h`.
#[repr(C)]
struct RawLine {
    file: *const c_char,
    what: *const c_char,
    line: u32,
    worst: u32,
    instructions: u64,
    passes: u64,
    conflicts: u64,
}

impl Default for RawLine {
    fn default() -> Self {
        RawLine {
            file: c"".as_ptr(),
            what: c"".as_ptr(),
            line: 0,
            worst: 0,
            instructions: 0,
            passes: 0,
            conflicts: 0,
        }
    }
}

unsafe extern "C" {
    fn rnnx_emu_bank_line(index: u32, line: *mut RawLine) -> c_int;
}
