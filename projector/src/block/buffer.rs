//! A buffer that grows and is then used again, so that no request clears or allocates memory.

/// Bytes that are put together before they are sent.
#[derive(Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// How many of them count; what follows is to be used again.
    pub(crate) used: usize,
}

impl Buffer {
    /// `length` more bytes, with what they held before.
    pub(crate) fn space(&mut self, length: usize) -> &mut [u8] {
        let end = self.used + length;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        let space = &mut self.bytes[self.used..end];
        self.used = end;
        space
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.space(bytes.len()).copy_from_slice(bytes);
    }

    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    /// Empties it; more than `limit` bytes are given back to the host.
    pub(crate) fn give_back(&mut self, limit: usize) {
        self.used = 0;
        if self.bytes.len() > limit {
            self.bytes = Vec::new();
        }
    }
}
