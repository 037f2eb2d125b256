//! The shape of a disk in cylinders, heads and sectors.

use crate::disk::SECTOR;
use crate::layout::VixDiskLibGeometry;

/// Cylinders, heads, and sectors of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) cylinders: u32,
    pub(crate) heads: u32,
    pub(crate) sectors: u32,
}

impl Geometry {
    /// The usual shape of a disk of `size` bytes: 255 heads and 63 sectors, as logical blocks are
    /// translated.
    pub(crate) fn of_size(size: u64) -> Self {
        let (heads, sectors) = (255, 63);
        let cylinders = size / (u64::from(heads) * u64::from(sectors) * SECTOR);
        Self { cylinders: u32::try_from(cylinders.max(1)).unwrap_or(u32::MAX), heads, sectors }
    }

    /// What `keys` say under `prefix`; `None` unless all three are there.
    pub(crate) fn of_keys(keys: &[(String, String)], prefix: &str) -> Option<Self> {
        let number = |name: &str| {
            let key = format!("{prefix}.{name}");
            keys.iter().find(|(own, _)| *own == key)?.1.parse().ok()
        };
        Some(Self {
            cylinders: number("cylinders")?,
            heads: number("heads")?,
            sectors: number("sectors")?,
        })
    }
}

impl From<Geometry> for VixDiskLibGeometry {
    fn from(own: Geometry) -> Self {
        Self { cylinders: own.cylinders, heads: own.heads, sectors: own.sectors }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_comes_from_keys_that_are_whole() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let mut keys = vec![pair("geometry.cylinders", "5"), pair("geometry.heads", "16")];
        assert_eq!(Geometry::of_keys(&keys, "geometry"), None);
        keys.push(pair("geometry.sectors", "63"));
        let found = Geometry { cylinders: 5, heads: 16, sectors: 63 };
        assert_eq!(Geometry::of_keys(&keys, "geometry"), Some(found));
        assert_eq!(Geometry::of_size(0).cylinders, 1);
        assert_eq!(Geometry::of_size(u64::MAX).cylinders, u32::MAX);
    }
}
