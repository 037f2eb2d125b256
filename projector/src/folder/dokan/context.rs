//! What the callbacks of a volume of Dokan use, and what its driver is told of it.

use crate::folder::windows::callbacks::Context;

use super::abi::{self, DokanOptions, Functions, flags};

/// How long a request may take, in milliseconds: the most that the driver waits for one before it
/// ends the volume.
const TIMEOUT: u32 = 300_000;

/// What the callbacks of one volume use.
pub type VolumeContext = Context<Functions>;

impl VolumeContext {
    /// The options of a volume of this context, mounted at `point`, which ends with 0; both must
    /// outlive it.
    pub fn options(&self, point: &[u16], more: u32) -> Box<DokanOptions> {
        let facts = self.server.facts();
        Box::new(DokanOptions {
            version: abi::VERSION,
            single_thread: 0,
            options: flags::ALT_STREAM | flags::WRITE_PROTECT | more,
            global_context: std::ptr::from_ref(self).expose_provenance() as u64,
            mount_point: point.as_ptr(),
            unc_name: std::ptr::null(),
            timeout: TIMEOUT,
            allocation_unit_size: facts.cluster_size.clamp(512, 64 << 10),
            sector_size: 512,
            // Every open is checked against the descriptor of its file.
            volume_security_descriptor_length: 0,
            volume_security_descriptor: [0; abi::MAX_SECURITY],
        })
    }
}
