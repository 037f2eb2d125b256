//! Configurations of machines in place of their disks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::program::{Output, Scratch, program, run, text, volfold};
use crate::harness::{apply, needs_programs, test};

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/sample.vmdk")
}

/// Makes the sample's disk as `name`.
fn disk(scratch: &Scratch, name: &str, format: &str) -> PathBuf {
    let path = scratch.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
    let sample = sample();
    program("qemu-img", &["convert", "-O", format, text(&sample), text(&path)]).code(0);
    path
}

/// Whether the set that `path` gives has all files of the sample, and nothing is amiss.
#[track_caller]
fn has_sample(path: &Path, arguments: &[&str]) -> Output {
    let wanted = fs::read_to_string(sample().with_extension("sha256")).expect("the list");
    let mut words = vec!["hash", text(path)];
    words.extend(arguments);
    let output = volfold(words).code(0);
    assert_eq!(output.text(), wanted);
    output
}

#[apply(test)]
fn the_configuration_of_a_vmware_machine_gives_its_newest_disk_or_a_snapshot() {
    needs_programs(&["qemu-img", "qemu-io"]);
    let scratch = Scratch::new("vmx");
    disk(&scratch, "web.vmdk", "vmdk");
    let create = ["create", "-q", "-f", "vmdk", "-b", "web.vmdk", "-F", "vmdk", "web-000001.vmdk"];
    run(Command::new("qemu-img").args(create).current_dir(scratch.path())).code(0);
    // The text of README.txt on the ext4 volume.
    let write = "write -P 0x4e 15154176 512";
    let newest = scratch.join("web-000001.vmdk");
    program("qemu-io", &["-f", "vmdk", "-c", write, text(&newest)]).code(0);
    let vmx = scratch.join("web.vmx");
    fs::write(&vmx, "scsi0:0.present = \"TRUE\"\nscsi0:0.fileName = \"web-000001.vmdk\"\n")
        .expect("");
    let snapshots = "snapshot.numSnapshots = \"1\"\nsnapshot0.uid = \"7\"\n\
        snapshot0.displayName = \"clean\"\nsnapshot0.disk0.fileName = \"web.vmdk\"\n";
    fs::write(scratch.join("web.vmsd"), snapshots).expect("a file");
    let cat = volfold(["cat", text(&vmx), "-p", "/linux/README.txt"]).code(0).text();
    assert!(cat.starts_with("NNNN"));
    let list = volfold(["list", text(&vmx), "--json"]).code(0).json();
    let chain = list["disks"][0]["chain"].as_array().expect("a chain").clone();
    let names: Vec<_> = chain
        .iter()
        .map(|name| Path::new(name.as_str().expect("a name")).file_name().expect("").to_owned())
        .collect();
    assert_eq!(names, ["web-000001.vmdk", "web.vmdk"], "the oldest last");
    // The snapshot lies beside, and that is what was asked for.
    for name in ["clean", "7"] {
        let old = volfold(["cat", text(&vmx), "--snapshot", name, "-p", "/linux/README.txt"]);
        assert!(!old.text().starts_with("NNNN"), "{name}");
        let told = volfold(["list", text(&vmx), "--snapshot", name]).text();
        assert!(told.contains("       snapshot 7  clean, shown\n"), "{told}");
    }
    // A machine that was taken back is in its newest state on the base.
    fs::write(&vmx, "scsi0:0.present = \"TRUE\"\nscsi0:0.fileName = \"web.vmdk\"\n").expect("");
    volfold(["list", text(&vmx)]).code(0);
    let told = volfold(["list", text(&vmx), "--json"]).json();
    let machine = &told["machines"][0];
    assert_eq!(machine["snapshots"], serde_json::json!([{ "id": "7", "name": "clean" }]));
    assert!(machine["snapshot"].is_null(), "{machine}");
    volfold(["list", text(&vmx), "--snapshot", "none"])
        .code(1)
        .says("keeps no snapshot that is called none");
}

#[apply(test)]
fn other_configurations_give_their_disks_too() {
    needs_programs(&["qemu-img"]);
    let scratch = Scratch::new("machines");
    disk(&scratch, "Snapshots/{1}.vdi", "vdi");
    disk(&scratch, "vm-100-disk-0.qcow2", "qcow2");
    let raw = disk(&scratch, "image", "raw");
    let vbox = r#"<VirtualBox xmlns="http://www.virtualbox.org/"><Machine name="web"><MediaRegistry>
        <HardDisks><HardDisk uuid="{1}" location="Snapshots/{1}.vdi" format="VDI"/></HardDisks>
        </MediaRegistry><Hardware><StorageControllers><StorageController name="SATA">
        <AttachedDevice type="HardDisk" port="0" device="0"><Image uuid="{1}"/></AttachedDevice>
        </StorageController></StorageControllers></Hardware></Machine></VirtualBox>"#;
    let libvirt = format!(
        r#"<domain type="kvm"><devices><disk type="file" device="disk"><driver type="raw"/>
        <source file="{}"/><target dev="vda"/></disk></devices></domain>"#,
        raw.display()
    );
    let proxmox = "ide2: none,media=cdrom\nscsi0: local:100/vm-100-disk-0.qcow2,size=1G\n";
    for (name, content) in
        [("web.vbox", vbox), ("web.xml", libvirt.as_str()), ("100.conf", proxmox)]
    {
        let path = scratch.join(name);
        fs::write(&path, content).expect("a configuration");
        has_sample(&path, &[]);
    }
    // An OVF whose disk was cut.
    let ovf = Scratch::new("ovf");
    disk(&ovf, "web disk1.vmdk", "vmdk");
    let bytes = fs::read(ovf.join("web disk1.vmdk")).expect("the disk");
    for (index, part) in bytes.chunks(1 << 20).enumerate() {
        fs::write(ovf.join(format!("web disk1.vmdk.{index:09}")), part).expect("a part");
    }
    fs::remove_file(ovf.join("web disk1.vmdk")).expect("it goes");
    let path = ovf.join("web.ovf");
    let content = r#"<Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"><References>
        <File ovf:href="web%20disk1.vmdk" ovf:id="f1" ovf:chunkSize="1048576"/></References>
        <DiskSection><Disk ovf:diskId="d1" ovf:fileRef="f1"/></DiskSection></Envelope>"#;
    fs::write(&path, content).expect("a configuration");
    has_sample(&path, &[]);
}

#[apply(test)]
fn what_a_configuration_names_is_bounded_by_its_folder() {
    needs_programs(&["qemu-img"]);
    let scratch = Scratch::new("machine-bad");
    fs::create_dir_all(scratch.join("vm")).expect("a folder");
    let outside = disk(&scratch, "outside.vmdk", "vmdk");
    disk(&scratch, "vm/inside.vmdk", "vmdk");
    let vmx = scratch.join("vm/web.vmx");
    let lines = format!(
        "scsi0:0.fileName = \"inside.vmdk\"\nscsi0:1.fileName = \"{}\"\nscsi0:2.fileName = \"gone.vmdk\"\n\
         scsi0:3.fileName = \"/etc/passwd\"\nscsi0:4.fileName = \"web.vmx\"\n",
        outside.display()
    );
    fs::write(&vmx, lines).expect("a configuration");
    let list = volfold(["list", text(&vmx)]).code(3);
    let list = list.says("outside.vmdk").says("outside its folder; allow it with --allow-path");
    let list = list.says("gone.vmdk is missing; put it beside the configuration");
    list.says("/etc/passwd").says("web.vmx");
    let json = volfold(["list", text(&vmx), "--json"]).code(3).json();
    assert_eq!(json["disks"].as_array().map(Vec::len), Some(1));
    let allowed = volfold(["list", text(&vmx), "--json", "--allow-path", text(scratch.path())]);
    assert_eq!(allowed.json()["disks"].as_array().map(Vec::len), Some(2));
    let xml = scratch.join("vm/net.xml");
    let content = r#"<domain><devices><disk type="file"><driver type="vmdk"/>
        <source file="inside.vmdk"/><target dev="vda"/></disk><disk type="network">
        <source protocol="rbd" name="x"/><target dev="vdb"/></disk></devices></domain>"#;
    fs::write(&xml, content).expect("a configuration");
    let said = volfold(["ls", text(&xml)]).code(3);
    said.says("disk vdb is not given: it is on a network, by rbd");
    for (name, content, reason) in [
        ("a.vmx", "", "is the configuration of a machine, and names no disk"),
        ("a.vmcx", "x", "give its .vhdx files, or their folder"),
        ("a.ovf", "<a", "configuration is no XML"),
    ] {
        let path = scratch.join(name);
        fs::write(&path, content).expect("a configuration");
        volfold(["list", text(&path)]).code(1).says(reason);
    }
}
