//! libvirt's domain XML.
//!
//! Specification: libvirt, "Domain XML format", section "Hard drives, floppy disks, CDROMs". A `disk`
//! has a `source` that is a file, a block device, or something on a network, and a `driver` that
//! declares its format. The domain may be inside a `domainsnapshot`.

use volfold_block::BlockResult;
use volfold_images::xml::{Node, attribute, child, children, document, utf8};

use super::config::{CONFIGURATION, Machine};

/// What libvirt calls formats, and what they are called here.
const FORMATS: [(&str, &str); 8] = [
    ("raw", "raw"),
    ("qcow2", "qcow2"),
    ("qcow", "qcow2"),
    ("qed", "qed"),
    ("vmdk", "vmdk"),
    ("vdi", "vdi"),
    ("vpc", "vhd"),
    ("vhdx", "vhdx"),
];

/// The machine that `bytes` define; `None` if it is other XML.
pub(super) fn read(bytes: &[u8]) -> BlockResult<Option<Machine>> {
    // Other XML may be of any encoding and size.
    let Ok(text) = utf8(CONFIGURATION, bytes) else { return Ok(None) };
    if !text.contains("<domain") {
        return Ok(None);
    }
    let document = document(CONFIGURATION, text)?;
    let root = document.root_element();
    let domain = match root.tag_name().name() {
        "domain" => Some(root),
        "domainsnapshot" | "domstatus" => child(root, "domain"),
        _ => None,
    };
    let Some(domain) = domain else { return Ok(None) };
    let mut machine = Machine::default();
    let devices = children(domain, "devices");
    for disk in devices.flat_map(|devices| children(devices, "disk")) {
        if matches!(attribute(disk, "device"), None | Some("disk" | "lun")) {
            add(disk, &mut machine);
        }
    }
    Ok(Some(machine))
}

/// Adds the disk that `disk` defines.
fn add(disk: Node<'_, '_>, machine: &mut Machine) {
    let target = child(disk, "target").and_then(|target| attribute(target, "dev"));
    let slot = target.unwrap_or("disk").to_owned();
    let declared = child(disk, "driver").and_then(|driver| attribute(driver, "type"));
    let source = child(disk, "source");
    let of = |name| source.and_then(|source| attribute(source, name));
    match (of("file").or_else(|| of("dev")), declared) {
        (Some(file), None) => machine.add(slot, file, None),
        (Some(file), Some(declared)) => match FORMATS.iter().find(|(name, _)| *name == declared) {
            Some((_, format)) => machine.add(slot, file, Some(*format)),
            None => machine.leave_out(slot, format!("its format, {declared}, is not read")),
        },
        (None, _) => {
            let what = match (of("protocol"), of("pool")) {
                (Some(protocol), _) => format!("it is on a network, by {protocol}"),
                (_, Some(pool)) => {
                    format!("it is a volume of the storage pool {pool}; give its file")
                }
                _ => "it has no file".to_owned(),
            };
            machine.leave_out(slot, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_have_the_formats_that_are_declared() {
        let text = r#"<domain type="kvm"><name>web</name><devices>
            <disk type="file" device="disk"><driver name="qemu" type="qcow2"/>
              <source file="/var/lib/libvirt/images/web.qcow2"/><target dev="vda" bus="virtio"/>
              <backingStore type="file"><source file="/base.img"/></backingStore></disk>
            <disk type="block"><driver type="raw"/><source dev="/dev/vg/lv"/><target dev="vdb"/></disk>
            <disk type="network" device="disk"><source protocol="rbd" name="p/x"/><target dev="vdc"/></disk>
            <disk type="file" device="disk"><driver type="ploop"/><source file="x"/><target dev="vdd"/></disk>
            <disk type="file" device="cdrom"><source file="cd.iso"/><target dev="sda"/></disk>
            <disk type="file" device="cdrom"><target dev="sdb"/></disk>
          </devices></domain>"#;
        let machine = read(text.as_bytes()).unwrap().unwrap();
        let disks: Vec<_> = machine
            .disks
            .iter()
            .map(|disk| (disk.slot.as_str(), disk.file.shown.as_str(), disk.format))
            .collect();
        assert_eq!(
            disks,
            [
                ("vda", "/var/lib/libvirt/images/web.qcow2", Some("qcow2")),
                ("vdb", "/dev/vg/lv", Some("raw")),
            ]
        );
        let left: Vec<_> = machine.left_out.iter().map(|(_, reason)| reason.as_str()).collect();
        assert_eq!(left, ["it is on a network, by rbd", "its format, ploop, is not read"]);
        assert!(read(b"<a/>").unwrap().is_none());
        assert!(read(b"<domains/>").unwrap().is_none());
        let inside = format!("<domainsnapshot><name>s</name>{text}</domainsnapshot>");
        assert_eq!(read(inside.as_bytes()).unwrap().unwrap().disks.len(), 2);
    }
}
