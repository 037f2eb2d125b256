//! A writer of devices for the tests: small, in memory, and each test bends one field.

use std::sync::Arc;

use volfold_block::{BlockDevice, MemoryDevice};

use crate::volume::Region;

/// Where the data of a device with superblock 1.1 or 1.2 begins.
pub(super) const DATA: usize = 16 << 10;

/// A device of RAID-1 with two columns of 64 KiB, unless a test says otherwise.
#[derive(Clone)]
pub(super) struct Device {
    /// The minor version of superblock 1; `None`: 0.90.
    pub(super) minor: Option<u32>,
    pub(super) array: u8,
    pub(super) number: u32,
    pub(super) level: i32,
    pub(super) layout: u32,
    pub(super) chunk: u32,
    pub(super) raid_disks: u32,
    pub(super) events: u64,
    pub(super) features: u32,
    pub(super) created: u64,
    /// Sectors that are in sync; all bits: all.
    pub(super) synced: u64,
    pub(super) roles: Vec<u16>,
    pub(super) data: Vec<u8>,
    /// Bytes of each device that the array uses.
    pub(super) component: u64,
}

impl Device {
    /// The device `number` of an array of `raid_disks`, whose data is all its number.
    pub(super) fn new(number: u32, raid_disks: u32) -> Self {
        Self {
            minor: Some(2),
            array: 1,
            number,
            level: 1,
            layout: 0,
            chunk: 0,
            raid_disks,
            events: 10,
            features: 0,
            created: 1,
            synced: u64::MAX,
            roles: (0..raid_disks as u16).collect(),
            data: vec![7; 64 << 10],
            component: 64 << 10,
        }
    }

    /// The bytes of the device, `size` of them.
    pub(super) fn bytes(&self, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        let (at, superblock) = match self.minor {
            Some(minor) => {
                let at = [(size - 8192) & !4095, 0, 4096][minor as usize];
                let start = if minor == 0 { 0 } else { DATA };
                bytes[start..start + self.data.len()].copy_from_slice(&self.data);
                (at, self.superblock(at, start))
            }
            None => {
                bytes[..self.data.len()].copy_from_slice(&self.data);
                ((size & !0xFFFF) - 0x1_0000, self.old())
            }
        };
        bytes[at..at + superblock.len()].copy_from_slice(&superblock);
        bytes
    }

    fn superblock(&self, at: usize, start: usize) -> Vec<u8> {
        let mut bytes = vec![0; 256];
        let mut put = |at: usize, number: u64, size: usize| {
            bytes[at..at + size].copy_from_slice(&number.to_le_bytes()[..size]);
        };
        put(0, 0xA92B_4EFC, 4);
        put(4, 1, 4);
        put(8, u64::from(self.features), 4);
        put(16, u64::from(self.array), 1);
        put(64, self.created, 8);
        put(72, self.level as u64, 4);
        put(76, u64::from(self.layout), 4);
        put(80, self.component / 512, 8);
        put(88, u64::from(self.chunk) / 512, 4);
        put(92, u64::from(self.raid_disks), 4);
        put(128, start as u64 / 512, 8);
        put(136, self.data.len() as u64 / 512, 8);
        put(144, at as u64 / 512, 8);
        put(160, u64::from(self.number), 4);
        put(168, u64::from(self.number) + 1, 1);
        put(200, self.events, 8);
        put(208, self.synced, 8);
        put(220, self.roles.len() as u64, 4);
        bytes[32..41].copy_from_slice(b"seed:mine");
        bytes.extend(self.roles.iter().flat_map(|role| role.to_le_bytes()));
        seal(&mut bytes, 216);
        bytes
    }

    fn old(&self) -> Vec<u8> {
        let mut words = vec![0_u32; 1024];
        words[0] = 0xA92B_4EFC;
        words[2] = 90;
        words[5] = u32::from(self.array);
        words[7] = self.level as u32;
        words[8] = (self.component / 1024) as u32;
        words[10] = self.raid_disks;
        words[11] = 3;
        words[33] = u32::from(self.synced == u64::MAX);
        words[39] = self.events as u32;
        words[41] = self.events as u32;
        words[43] = self.synced as u32;
        words[64] = self.layout;
        words[65] = self.chunk;
        for (number, role) in self.roles.iter().enumerate() {
            let state = if *role < 0xFF00 { 6 } else { 1 };
            words[128 + 32 * number] = number as u32;
            words[131 + 32 * number] = u32::from(*role);
            words[132 + 32 * number] = state;
        }
        words[992] = self.number;
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        seal(&mut bytes, 38 * 4);
        bytes
    }
}

/// Writes the checksum at `place`.
pub(super) fn seal(bytes: &mut [u8], place: usize) {
    bytes[place..place + 4].fill(0);
    let mut sum = 0_u64;
    for word in bytes.chunks(4) {
        let mut whole = [0; 4];
        whole[..word.len()].copy_from_slice(word);
        sum += u64::from(u32::from_le_bytes(whole));
    }
    let sum = (sum & 0xFFFF_FFFF) as u32 as u64 + (sum >> 32);
    bytes[place..place + 4].copy_from_slice(&(sum as u32).to_le_bytes());
}

/// `bytes` as a whole disk of a set.
pub(super) fn region(disk: usize, bytes: Vec<u8>) -> Region {
    let device: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(bytes));
    let (size, label) = (device.size(), format!("disk{disk}").into());
    Region { disk, device, start: 0, size, label, partition: None, table_id: None }
}

/// A log of 64 KiB for the array 1, with one meta block that has `pages` of the array, all of the byte 3.
pub(super) fn log(pages: &[u64]) -> Vec<u8> {
    let uuid = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let sum = |bytes: &[u8]| !crc32c::crc32c_append(crc32c::crc32c(&uuid), bytes);
    let mut block = vec![0; 32];
    for page in pages {
        block.extend([0, 0, 0, 0, 8, 0, 0, 0]);
        block.extend((page * 8).to_le_bytes());
        block.extend(sum(&[3; 4096]).to_le_bytes());
    }
    let size = block.len() as u32;
    block[..4].copy_from_slice(&0x6433_C509_u32.to_le_bytes());
    block[8] = 1;
    block[12..16].copy_from_slice(&size.to_le_bytes());
    block[16] = 5;
    block.resize(4096, 0);
    let own = sum(&block);
    block[4..8].copy_from_slice(&own.to_le_bytes());
    block.resize(4096 + pages.len() * 4096, 3);
    block.resize(64 << 10, 0);
    block
}
