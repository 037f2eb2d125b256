//! Which files of the host an image is made of.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use volfold_block::{BlockDevice, BlockResult, Extent, FileFacts};
use volfold_images::{Located, Locator};

use crate::monitor::Monitor;

/// A file of the host that an image is made of: itself, an extent, a parent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SourceFile {
    /// Its path, as messages call it.
    pub name: String,
    /// What the host said of it when it was opened.
    pub facts: FileFacts,
}

/// Writes down the files that are opened on behalf of one image, which are read until they are stopped.
#[derive(Clone)]
pub(crate) struct SourceLog {
    known: Arc<Mutex<Vec<SourceFile>>>,
    monitor: Monitor,
}

impl SourceLog {
    /// Writes down `image` and all files that are opened through it from now on, and reads them until
    /// `monitor` is stopped.
    pub(crate) fn of(image: &mut Located, monitor: &Monitor) -> Self {
        let log = Self { known: Arc::default(), monitor: monitor.clone() };
        log.add(image);
        image.device = monitored(image.device.clone(), monitor);
        image.files = Arc::new(Watched { files: image.files.clone(), log: log.clone() });
        log
    }

    fn add(&self, file: &Located) {
        if let Some(facts) = file.device.file_facts() {
            let mut files = self.known.lock();
            if !files.iter().any(|known| known.name == file.name) {
                files.push(SourceFile { name: file.name.clone(), facts });
            }
        }
    }

    /// The files that were opened until now.
    pub(crate) fn files(&self) -> Vec<SourceFile> {
        self.known.lock().clone()
    }
}

/// A policy whose answers are written down.
struct Watched {
    files: Arc<dyn Locator>,
    log: SourceLog,
}

impl Watched {
    /// Writes `located` down, and what is opened through it.
    fn watch(&self, located: Located) -> Located {
        self.log.add(&located);
        let files = Arc::new(Self { files: located.files, log: self.log.clone() });
        let device = monitored(located.device, &self.log.monitor);
        Located { files, device, ..located }
    }
}

impl Locator for Watched {
    fn open(&self, reference: &Path) -> BlockResult<Located> {
        self.files.open(reference).map(|located| self.watch(located))
    }

    fn candidates(&self, reference: &Path) -> BlockResult<Vec<Located>> {
        let all = self.files.candidates(reference)?.into_iter();
        Ok(all.map(|located| self.watch(located)).collect())
    }

    fn neighbours(&self, extension: &str, visit: &mut dyn FnMut(Located) -> ControlFlow<()>) {
        self.files.neighbours(extension, &mut |located| visit(self.watch(located)));
    }
}

/// `device`, read until `monitor` is stopped.
pub(crate) fn monitored(device: Arc<dyn BlockDevice>, monitor: &Monitor) -> Arc<dyn BlockDevice> {
    Arc::new(Monitored { device, monitor: monitor.clone() })
}

/// A device that is read until its monitor is stopped.
struct Monitored {
    device: Arc<dyn BlockDevice>,
    monitor: Monitor,
}

impl BlockDevice for Monitored {
    fn size(&self) -> u64 {
        self.device.size()
    }

    fn sector_size(&self) -> u32 {
        self.device.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        self.monitor.tick()?;
        self.device.read_at(offset, buf)
    }

    fn read_vectored_at(&self, offset: u64, bufs: &mut [&mut [u8]]) -> BlockResult<()> {
        self.monitor.tick()?;
        self.device.read_vectored_at(offset, bufs)
    }

    fn extent_at(&self, offset: u64) -> BlockResult<Extent> {
        self.monitor.tick()?;
        self.device.extent_at(offset)
    }

    fn will_need(&self, offset: u64, length: u64) {
        self.device.will_need(offset, length);
    }

    fn file_facts(&self) -> Option<FileFacts> {
        self.device.file_facts()
    }
}
