//! A buffer that grows and is then used again, so that no request clears or allocates memory.

/// Bytes that are put together before they are sent.
#[derive(Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// How many of them count; what follows is to be used again.
    used: usize,
}

impl Buffer {
    /// How many bytes it holds.
    pub(crate) fn length(&self) -> usize {
        self.used
    }

    /// `length` more bytes, with what they held before.
    pub(crate) fn space(&mut self, length: usize) -> &mut [u8] {
        let start = self.used;
        let end = start.saturating_add(length);
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.used = end;
        // It was just made long enough.
        self.bytes.get_mut(start..end).unwrap_or_default()
    }

    /// Adds `bytes`.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.space(bytes.len()).copy_from_slice(bytes);
    }

    /// What was added.
    pub(crate) fn filled(&self) -> &[u8] {
        self.filled_from(0)
    }

    /// What was added after the first `start` bytes.
    pub(crate) fn filled_from(&self, start: usize) -> &[u8] {
        self.bytes.get(start..self.used).unwrap_or_default()
    }

    /// Takes back all but the first `length` bytes.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.used = self.used.min(length);
    }

    /// Empties it; more than `limit` bytes are given back to the host.
    pub(crate) fn give_back(&mut self, limit: usize) {
        self.used = 0;
        if self.bytes.len() > limit {
            self.bytes = Vec::new();
        }
    }
}

/// Bytes that were read from a stream and are not yet used.
pub(crate) struct Input {
    bytes: Box<[u8]>,
    waiting: std::ops::Range<usize>,
}

impl Input {
    /// Room for `length` bytes.
    pub(crate) fn new(length: usize) -> Self {
        Self { bytes: vec![0; length].into_boxed_slice(), waiting: 0..0 }
    }

    /// Moves bytes to the front of `buf`, as many as there are and it takes; how many. 0 if all bytes
    /// are used.
    pub(crate) fn take(&mut self, buf: &mut [u8]) -> usize {
        let waiting = self.bytes.get(self.waiting.clone()).unwrap_or_default();
        let count = waiting.len().min(buf.len());
        let (from, _) = waiting.split_at(count);
        let (to, _) = buf.split_at_mut(count);
        to.copy_from_slice(from);
        self.waiting.start = self.waiting.start.saturating_add(count);
        count
    }

    /// Reads from `stream` what has come, in the place of bytes that were used; how many.
    ///
    /// # Errors
    /// As `stream`.
    pub(crate) fn fill(&mut self, stream: &mut dyn std::io::Read) -> std::io::Result<usize> {
        let count = stream.read(&mut self.bytes)?;
        self.waiting = 0..count;
        Ok(count)
    }
}
