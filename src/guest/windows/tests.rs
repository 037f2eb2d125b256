use std::collections::BTreeMap;
use std::sync::Arc;

use volfold_block::Finding;
use volfold_fs::{
    FileData, FsError, FsInfo, FsResult, LinkTarget, Metadata, Name, StreamName, Timestamp, Usage,
};

use super::*;
use crate::guest::hive::testing::{Tree, file, log_entry, new_log, set_sequences, sz};
use crate::partition::Guid;

/// A volume with files by their paths, whose names compare byte by byte.
struct Memory {
    info: FsInfo,
    /// The name, the children and the content of each node; the first is the root.
    nodes: Vec<(String, BTreeMap<String, usize>, Vec<u8>)>,
}

impl Memory {
    fn new(files: &[(&str, Vec<u8>)]) -> Self {
        let mut nodes = vec![(String::new(), BTreeMap::new(), Vec::new())];
        for (path, content) in files {
            let mut at = 0;
            for part in path.split('/') {
                let next = nodes.len();
                let child = *nodes[at].1.entry(part.to_owned()).or_insert(next);
                if child == next {
                    nodes.push((part.to_owned(), BTreeMap::new(), Vec::new()));
                }
                at = child;
            }
            nodes[at].2 = content.clone();
        }
        Self { info: FsInfo::new("memory", 4096, 0), nodes }
    }

    fn kind(&self, node: usize) -> FileKind {
        match self.nodes[node].1.is_empty() {
            true => FileKind::Regular,
            false => FileKind::Directory,
        }
    }
}

impl FileSystem for Memory {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn usage(&self) -> FsResult<Usage> {
        Ok(Usage::default())
    }

    fn root(&self) -> NodeId {
        NodeId(0)
    }

    fn lookup(&self, dir: NodeId, name: Name<'_>) -> FsResult<NodeId> {
        let found = self.nodes[dir.0 as usize].1.get(&*name.to_text());
        found.map(|node| NodeId(*node as u64)).ok_or_else(FsError::not_found)
    }

    fn metadata(&self, node: NodeId) -> FsResult<Metadata> {
        Ok(Metadata::new(node, self.kind(node.0 as usize)))
    }

    fn read_dir(
        &self,
        dir: NodeId,
        from: DirCursor,
        emit: &mut dyn FnMut(volfold_fs::DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<()> {
        let children = self.nodes[dir.0 as usize].1.iter().enumerate();
        for (place, (name, node)) in children.skip(from.0 as usize) {
            let entry = volfold_fs::DirEntry {
                name: Name::new(name),
                node: NodeId(*node as u64),
                kind: self.kind(*node),
                metadata: None,
                next: DirCursor(place as u64 + 1),
            };
            if emit(entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn read_link(&self, _node: NodeId) -> FsResult<LinkTarget> {
        Err(FsError::not_a_link())
    }

    fn open(&self, node: NodeId, _stream: &StreamName) -> FsResult<Arc<dyn FileData>> {
        match self.kind(node.0 as usize) {
            FileKind::Directory => Err(FsError::is_a_directory()),
            _ => Ok(file(self.nodes[node.0 as usize].2.clone())),
        }
    }
}

const VERSION: &str = r"Microsoft\Windows NT\CurrentVersion";

/// A hive `SOFTWARE` with these texts and numbers in `CurrentVersion`.
fn software(texts: &[(&str, &str)], numbers: &[(&str, u32)]) -> Tree {
    let mut tree = Tree::default();
    for (name, text) in texts {
        tree.sz(VERSION, name, text);
    }
    for (name, number) in numbers {
        tree.dword(VERSION, name, *number);
    }
    tree
}

/// A hive `SYSTEM` whose current control set is `set`, with another one beside it.
fn system(set: u32, product_type: &str, architecture: &str) -> Tree {
    let mut tree = Tree::default();
    tree.dword("Select", "Current", set);
    tree.dword("Select", "Default", set);
    tree.dword("Select", "Failed", 0);
    tree.dword("Select", "LastKnownGood", set + 1);
    let own = format!("ControlSet{set:03}");
    let other = format!("ControlSet{:03}", set + 1);
    tree.sz(&format!(r"{other}\Control\ComputerName\ComputerName"), "ComputerName", "OLDNAME");
    tree.sz(&format!(r"{own}\Control\ComputerName\ComputerName"), "ComputerName", "HOST");
    tree.sz(&format!(r"{own}\Services\Tcpip\Parameters"), "Hostname", "host");
    tree.sz(&format!(r"{own}\Services\Tcpip\Parameters"), "Domain", "example.org");
    tree.sz(&format!(r"{own}\Control\ProductOptions"), "ProductType", product_type);
    let manager = format!(r"{own}\Control\Session Manager");
    tree.sz(&format!(r"{manager}\Environment"), "PROCESSOR_ARCHITECTURE", architecture);
    let files = [sz(r"C:\pagefile.sys 150 500"), sz(r"?:\other.sys"), sz("")].concat();
    tree.value(&format!(r"{manager}\Memory Management"), "PagingFiles", 7, &files);
    let zone = format!(r"{own}\Control\TimeZoneInformation");
    tree.dword(&zone, "Bias", (-60_i32).cast_unsigned());
    tree.dword(&zone, "ActiveTimeBias", (-120_i32).cast_unsigned());
    tree.sz(&zone, "StandardName", "@tzres.dll,-322");
    // The value has a fixed length, and what was there before is behind the NUL.
    let mut key = sz("W. Europe Standard Time");
    key.extend([0x00, 0xD8, 0x41, 0x00]);
    tree.value(&zone, "TimeZoneKeyName", 1, &key);
    tree.dword(&format!(r"{own}\Control\Power"), "HibernateEnabled", 1);
    let mbr = [0xBE, 0x7A, 0x5B, 0x08, 0, 0, 0x50, 6, 0, 0, 0, 0];
    tree.value("MountedDevices", r"\DosDevices\C:", 3, &mbr);
    let gpt = [&b"DMIO:ID:"[..], &[7; 16]].concat();
    tree.value("MountedDevices", r"\DosDevices\D:", 3, &gpt);
    tree
}

fn volume(folder: &str, software: &Tree, system: &Tree) -> Memory {
    // Windows writes these names in any case.
    Memory::new(&[
        (&format!("{folder}/system32/config/software"), software.build()),
        (&format!("{folder}/system32/config/system"), system.build()),
        ("Users/Public/desktop.ini", Vec::new()),
    ])
}

fn read(fs: &Memory) -> (Windows, Vec<Finding>) {
    let told = FindingLog::new();
    let folders = windows_folders(fs, &told);
    let windows = read_windows(fs, &folders[0], &told);
    (windows, told.all())
}

/// Name, version, build, release or service pack, and role.
type Facts<'a> =
    (Option<&'a str>, Option<(u32, u32)>, Option<u32>, Option<&'a str>, Option<ProductRole>);

fn facts(windows: &Windows) -> Facts<'_> {
    let product = &windows.product;
    let release = product.release.as_deref().or(product.service_pack.as_deref());
    (product.name.as_deref(), product.version, product.build, release, windows.role())
}

#[test]
fn windows_nt_4_is_known_by_its_version() {
    let software = software(
        &[
            ("CurrentVersion", "4.0"),
            ("CurrentBuildNumber", "1381"),
            ("CSDVersion", "Service Pack 6"),
            ("SystemRoot", r"C:\WINNT"),
        ],
        &[("InstallDate", 0x3700_0000)],
    );
    let (windows, told) = read(&volume("WINNT", &software, &system(1, "ServerNT", "x86")));
    let expected: Facts<'_> = (
        Some("Windows NT 4.0"),
        Some((4, 0)),
        Some(1381),
        Some("Service Pack 6"),
        Some(ProductRole::Server),
    );
    assert_eq!((windows.folder.as_str(), facts(&windows)), ("WINNT", expected));
    assert_eq!(told, []);
}

#[test]
fn windows_2000_and_xp_have_an_obsolete_build_beside_the_right_one() {
    for (name, version, build, folder) in [
        ("Microsoft Windows 2000", "5.0", "2195", "WINNT"),
        ("Microsoft Windows XP", "5.1", "2600", "WINDOWS"),
    ] {
        let software = software(
            &[
                ("ProductName", name),
                ("CurrentVersion", version),
                ("CurrentBuild", "1.511.1 () (Obsolete data - do not use)"),
                ("CurrentBuildNumber", build),
                ("CSDVersion", "Service Pack 3"),
            ],
            &[("InstallDate", 1_100_000_000)],
        );
        let (windows, told) = read(&volume(folder, &software, &system(1, "WinNT", "x86")));
        let major_minor = (5, version[2..].parse().unwrap());
        let expected: Facts<'_> = (
            Some(name),
            Some(major_minor),
            Some(build.parse().unwrap()),
            Some("Service Pack 3"),
            Some(ProductRole::Client),
        );
        assert_eq!(facts(&windows), expected);
        let installed = Timestamp { seconds: 1_100_000_000, nanoseconds: 0 };
        assert_eq!(windows.product.installed, Some(installed));
        assert_eq!(told, []);
    }
}

#[test]
fn windows_7_has_an_edition_and_a_service_pack() {
    let software = software(
        &[
            ("ProductName", "Windows 7 Professional"),
            ("EditionID", "Professional"),
            ("InstallationType", "Client"),
            ("CurrentVersion", "6.1"),
            ("CurrentBuild", "7601"),
            ("CurrentBuildNumber", "7601"),
            ("CSDVersion", "Service Pack 1"),
        ],
        &[],
    );
    let (windows, told) = read(&volume("Windows", &software, &system(2, "WinNT", "AMD64")));
    let expected: Facts<'_> = (
        Some("Windows 7 Professional"),
        Some((6, 1)),
        Some(7601),
        Some("Service Pack 1"),
        Some(ProductRole::Client),
    );
    assert_eq!(facts(&windows), expected);
    assert_eq!(windows.product.edition.as_deref(), Some("Professional"));
    let machine = &windows.machine;
    let sets = machine.control_sets.unwrap();
    assert_eq!((sets.current, sets.default, sets.failed, sets.last_known_good), (2, 2, 0, 3));
    assert_eq!(machine.computer_name.as_deref(), Some("HOST"));
    assert_eq!(machine.host_name.as_deref(), Some("host"));
    assert_eq!(machine.domain.as_deref(), Some("example.org"));
    assert_eq!(machine.architecture.as_deref(), Some("AMD64"));
    let zone = machine.time_zone.as_ref().unwrap();
    assert_eq!((zone.bias, zone.active_bias, zone.daylight_bias), (Some(-60), Some(-120), None));
    assert_eq!(zone.key.as_deref(), Some("W. Europe Standard Time"));
    assert_eq!(zone.standard_name.as_deref(), Some("@tzres.dll,-322"));
    let page_files: Vec<_> =
        machine.page_files.iter().map(|file| (file.path.as_str(), file.maximum)).collect();
    assert_eq!(page_files, [(r"C:\pagefile.sys", Some(500)), (r"?:\other.sys", None)]);
    assert_eq!(machine.hibernation, Some(true));
    let ids: Vec<_> = windows.mounted_devices.iter().map(|device| &device.id).collect();
    let mbr = DeviceId::Mbr { signature: 0x085B_7ABE, offset: 0x0650_0000 };
    assert_eq!(ids, [&mbr, &DeviceId::Guid(Guid([7; 16]))]);
    assert_eq!(told, []);
}

/// Windows 10 and later.
fn modern(name: &str, edition: &str, kind: &str, build: &str, release: &str) -> Tree {
    let mut tree = software(
        &[
            ("ProductName", name),
            ("EditionID", edition),
            ("InstallationType", kind),
            ("CurrentVersion", "6.3"),
            ("CurrentBuild", build),
            ("CurrentBuildNumber", build),
            ("ReleaseId", "2009"),
            ("DisplayVersion", release),
        ],
        &[("CurrentMajorVersionNumber", 10), ("CurrentMinorVersionNumber", 0), ("UBR", 4170)],
    );
    tree.value(VERSION, "InstallTime", 11, &133_594_600_890_000_000_u64.to_le_bytes());
    tree
}

#[test]
fn windows_11_is_told_by_its_build_and_a_server_never_is_one() {
    for (recorded, edition, kind, build, name, role) in [
        ("Windows 10 Pro", "Professional", "Client", "19045", "Windows 10 Pro", "WinNT"),
        ("Windows 10 Pro", "Professional", "Client", "26100", "Windows 11 Pro", "WinNT"),
        (
            "Windows Server 2025 Standard",
            "ServerStandard",
            "Server Core",
            "26100",
            "Windows Server 2025 Standard",
            "ServerNT",
        ),
    ] {
        let software = modern(recorded, edition, kind, build, "24H2");
        let (windows, told) = read(&volume("Windows", &software, &system(1, role, "AMD64")));
        let role = match role {
            "WinNT" => ProductRole::Client,
            _ => ProductRole::Server,
        };
        assert_eq!(windows.product.role, Some(role));
        let expected: Facts<'_> =
            (Some(name), Some((10, 0)), Some(build.parse().unwrap()), Some("24H2"), Some(role));
        assert_eq!(facts(&windows), expected);
        assert_eq!(windows.product.recorded_name.as_deref(), Some(recorded));
        assert_eq!(windows.product.update, Some(4170));
        assert_eq!(windows.product.installed.unwrap().seconds, 1_714_986_489);
        assert_eq!(told, []);
    }
}

#[test]
fn every_windows_of_a_volume_is_found_by_its_hive_and_not_by_its_name() {
    let hive = software(&[], &[]).build();
    let fs = Memory::new(&[
        ("WINDOWS.0/System32/config/SOFTWARE", hive.clone()),
        ("Winnt/system32/CONFIG/software", hive),
        ("Windows/System32/drivers/etc/hosts", Vec::new()),
        ("Program Files/a.txt", Vec::new()),
    ]);
    let told = FindingLog::new();
    assert_eq!(windows_folders(&fs, &told), ["WINDOWS.0", "Winnt"]);
    assert_eq!(told.all(), []);
}

#[test]
fn what_cannot_be_read_is_told_by_hive_and_key() {
    let software = modern("Windows 10 Pro", "Professional", "Client", "19045", "22H2");
    let mut bytes = software.build();
    let value = bytes.windows(9).position(|window| window == b"EditionID").unwrap() - 0x14;
    bytes[value] = b'x';
    let fs = Memory::new(&[("Windows/System32/config/SOFTWARE", bytes)]);
    let (windows, told) = read(&fs);
    // The damaged value may be any that is not found elsewhere.
    assert_eq!(windows.product.recorded_name.as_deref(), Some("Windows 10 Pro"));
    assert_eq!(windows.product.edition, None);
    let first = &told[0];
    assert_eq!((first.code, first.position), (code::GUEST_UNREADABLE, Some(value as u64)));
    assert_eq!(first.path.as_deref(), Some("Windows/System32/config/SOFTWARE"));
    let expected = format!("key {VERSION}: value has a wrong signature");
    assert_eq!(first.message, expected);
    let last = told.last().unwrap();
    assert_eq!((last.code, last.message.as_str()), (code::GUEST_INCOMPLETE, "hive is missing"));
    assert_eq!(last.path.as_deref(), Some("Windows/System32/config/SYSTEM"));
}

#[test]
fn keys_that_are_missing_are_told() {
    let (windows, told) = read(&volume("Windows", &Tree::default(), &Tree::default()));
    assert_eq!((windows.product, windows.machine), (Product::default(), Machine::default()));
    let lines: Vec<String> = told.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            format!("Windows/System32/config/SOFTWARE: key {VERSION} is missing"),
            "Windows/System32/config/SYSTEM: key Select is missing".to_owned(),
            "Windows/System32/config/SYSTEM: key MountedDevices is missing".to_owned(),
        ]
    );
}

#[test]
fn the_logs_beside_a_hive_are_applied() {
    let mut tree = modern("Windows 10 Pro", "Professional", "Client", "19045", "21H2");
    let before = tree.build();
    let version = tree.at(VERSION);
    version.values.iter_mut().find(|value| value.0 == "DisplayVersion").unwrap().2 = sz("22H2");
    let after = tree.build();
    let mut dirty = before.clone();
    set_sequences(&mut dirty, 8, 7);
    let log = new_log(&before, 7, &[log_entry(&before, &after, 7)]);
    let fs = Memory::new(&[
        ("Windows/System32/config/SOFTWARE", dirty),
        ("Windows/System32/config/SOFTWARE.LOG1", Vec::new()),
        ("Windows/System32/config/SOFTWARE.LOG2", log),
        ("Windows/System32/config/SYSTEM", system(1, "WinNT", "AMD64").build()),
    ]);
    let (windows, told) = read(&fs);
    assert_eq!(windows.product.release.as_deref(), Some("22H2"));
    assert_eq!(told[0].code, code::HIVE_LOG_APPLIED);
    assert_eq!(told[0].path.as_deref(), Some("Windows/System32/config/SOFTWARE"));
    assert_eq!(told.len(), 1);
}

#[test]
fn programs_of_all_users_and_of_each_are_found() {
    let uninstall = r"Microsoft\Windows\CurrentVersion\Uninstall";
    let mut software = modern("Windows 10 Pro", "Professional", "Client", "19045", "22H2");
    software.sz(&format!(r"{uninstall}\7-Zip"), "DisplayName", "7-Zip 23.01 (x64)");
    software.sz(&format!(r"{uninstall}\7-Zip"), "DisplayVersion", "23.01");
    software.sz(&format!(r"{uninstall}\7-Zip"), "Publisher", "Igor Pavlov");
    software.dword(&format!(r"{uninstall}\Hidden"), "SystemComponent", 1);
    software.sz(&format!(r"{uninstall}\Hidden"), "DisplayName", "A part");
    software.sz(&format!(r"{uninstall}\Left"), "NoName", "");
    let wow = format!(r"WOW6432Node\{uninstall}\{{1234}}");
    software.sz(&wow, "DisplayName", "Old program");
    software.sz(&wow, "InstallDate", "20240102");
    let packages = r"Microsoft\Windows\CurrentVersion\Appx\AppxAllUserStore\Applications";
    software.at(&format!(r"{packages}\Microsoft.WindowsCalculator_10.1_x64__8wekyb3d8bbwe"));
    let profiles = r"Microsoft\Windows NT\CurrentVersion\ProfileList";
    let profile = sz(r"%SystemDrive%\Users\Ann");
    software.value(&format!(r"{profiles}\S-1-5-21-1-2-3-1001"), "ProfileImagePath", 2, &profile);
    software.sz(&format!(r"{profiles}\S-1-5-18"), "ProfileImagePath", r"%systemroot%\x");
    software.sz(&format!(r"{profiles}\S-1-5-21-1-2-3-1002"), "ProfileImagePath", r"\\server\Bob");
    let mut user = Tree::default();
    user.sz(&format!(r"Software\{uninstall}\Editor"), "DisplayName", "Editor");
    let fs = Memory::new(&[
        ("Windows/System32/config/SOFTWARE", software.build()),
        ("users/ANN/ntuser.dat", user.build()),
    ]);
    let told = FindingLog::new();
    let programs = installed_programs(&fs, "Windows", &told);
    let found: Vec<_> = programs
        .iter()
        .map(|program| (program.name.as_str(), program.scope.clone(), program.is_hidden))
        .collect();
    let expected = [
        ("7-Zip 23.01 (x64)", ProgramScope::Machine, false),
        ("A part", ProgramScope::Machine, true),
        ("Old program", ProgramScope::Machine32, false),
        ("Microsoft.WindowsCalculator", ProgramScope::Package, false),
        ("Editor", ProgramScope::User(r"%SystemDrive%\Users\Ann".to_owned()), false),
    ];
    assert_eq!(found, expected);
    assert_eq!(programs[0].version.as_deref(), Some("23.01"));
    assert_eq!(programs[2].installed.as_deref(), Some("20240102"));
    assert_eq!(programs[2].architecture.as_deref(), Some("x86"));
    let lines: Vec<_> = told.all().iter().map(|finding| finding.message.clone()).collect();
    assert_eq!(lines, [r"profile \\server\Bob is not in a folder of a drive"]);
}

/// A BCD with two systems; the second is the default.
fn store() -> Tree {
    let manager = r"Objects\{9dea862c-5cdd-4e70-acc1-f32b344d4795}\Elements";
    let (one, two) =
        ("{11111111-0000-0000-0000-000000000000}", "{22222222-0000-0000-0000-000000000000}");
    let mut tree = Tree::default();
    tree.sz(&format!(r"{manager}\23000003"), "Element", two);
    let order = [sz(one), sz(&two.to_uppercase()), sz("")].concat();
    tree.value(&format!(r"{manager}\24000001"), "Element", 7, &order);
    for (id, title, table) in [(one, "Windows 7", 1_u8), (two, "Windows 11", 0)] {
        let elements = format!(r"Objects\{id}\Elements");
        tree.sz(&format!(r"{elements}\12000004"), "Element", title);
        tree.sz(&format!(r"{elements}\12000002"), "Element", r"\Windows\system32\winload.efi");
        tree.sz(&format!(r"{elements}\22000002"), "Element", r"\Windows");
        let mut device = vec![0; 0x58];
        device[0x10] = 6;
        device[0x18] = 0x48;
        device[0x20..0x28].copy_from_slice(&0x0650_0000_u64.to_le_bytes());
        device[0x34] = table;
        device[0x38..0x3C].copy_from_slice(&0x085B_7ABE_u32.to_le_bytes());
        tree.value(&format!(r"{elements}\21000001"), "Element", 3, &device);
    }
    tree
}

#[test]
fn the_default_of_a_boot_menu_and_its_partition_are_found() {
    let fs = Memory::new(&[("efi/microsoft/boot/BCD", store().build())]);
    let told = FindingLog::new();
    let menus = boot_menus(&fs, &told);
    assert_eq!(menus.len(), 1);
    let menu = &menus[0];
    assert_eq!((menu.path.as_str(), menu.default), ("EFI/Microsoft/Boot/BCD", Some(1)));
    let mbr = DeviceId::Mbr { signature: 0x085B_7ABE, offset: 0x0650_0000 };
    assert_eq!(menu.entries[0].device, Some(BootDevice::Partition(mbr)));
    let entry = &menu.entries[1];
    assert_eq!(entry.title.as_deref(), Some("Windows 11"));
    assert_eq!(entry.folder.as_deref(), Some(r"\Windows"));
    assert_eq!(entry.program.as_deref(), Some(r"\Windows\system32\winload.efi"));
    assert!(matches!(entry.device, Some(BootDevice::Partition(DeviceId::Guid(_)))));
    assert_eq!(told.all(), []);
}

#[test]
fn a_boot_menu_that_lacks_what_it_names_is_told() {
    let mut tree = store();
    tree.at("Objects").keys.retain(|name, _| !name.starts_with("{2"));
    let fs = Memory::new(&[("Boot/BCD", tree.build())]);
    let told = FindingLog::new();
    let menus = boot_menus(&fs, &told);
    assert_eq!((menus[0].default, &menus[0].entries[1].device), (Some(1), &None));
    let line = told.all()[0].to_string();
    assert_eq!(
        line,
        r"Boot/BCD: key Objects\{22222222-0000-0000-0000-000000000000}\Elements is missing"
    );
}

#[test]
fn hives_of_libhivex_say_the_same() {
    let stored = |name: &str| {
        let path = format!("{}/tests/hives/{name}.gz", env!("CARGO_MANIFEST_DIR"));
        let mut bytes = Vec::new();
        let packed = std::fs::File::open(path).unwrap();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(packed), &mut bytes).unwrap();
        bytes
    };
    let fs = Memory::new(&[
        ("Windows/System32/config/SOFTWARE", stored("software-11")),
        ("Windows/System32/config/SYSTEM", stored("system-10")),
        ("WINNT/System32/config/SOFTWARE", stored("software-nt4")),
        ("WINNT/System32/config/SYSTEM", stored("system-10")),
    ]);
    let told = FindingLog::new();
    assert_eq!(windows_folders(&fs, &told), ["WINNT", "Windows"]);
    let windows = read_windows(&fs, "Windows", &told);
    let expected: Facts<'_> = (
        Some("Windows 11 Pro"),
        Some((10, 0)),
        Some(26_100),
        Some("24H2"),
        Some(ProductRole::Client),
    );
    assert_eq!(facts(&windows), expected);
    let machine = &windows.machine;
    assert_eq!(machine.computer_name.as_deref(), Some("DESKTOP-1A2B3C4"));
    assert_eq!((machine.domain.as_deref(), machine.hibernation), (None, Some(true)));
    assert_eq!(machine.page_files[0].path, r"?:\pagefile.sys");
    let letters: Vec<_> = windows.mounted_devices.iter().map(|device| &device.name).collect();
    let guid = "36a43ee7-0000-0000-0000-100000000000".to_owned();
    for name in [MountName::Letter('A'), MountName::Letter('C'), MountName::Volume(guid)] {
        assert!(letters.contains(&&name), "{letters:?}");
    }
    let old = read_windows(&fs, "WINNT", &told);
    assert_eq!(old.product.name.as_deref(), Some("Windows NT 4.0"));
    assert_eq!(told.all(), []);
}

#[test]
fn what_a_hive_notices_while_it_is_read_is_told() {
    let mut software = modern("Windows 10 Pro", "Professional", "Client", "19045", "22H2");
    software.at(r"Microsoft\Cryptography");
    let mut bytes = software.build();
    // The hint of the only key at the root.
    let root_list = bytes.windows(4).rposition(|window| window == b"lh\x01\0").unwrap();
    bytes[root_list + 8..root_list + 12].copy_from_slice(b"xxxx");
    let fs = Memory::new(&[
        ("Windows/System32/config/SOFTWARE", bytes),
        ("Windows/System32/config/SYSTEM", system(1, "WinNT", "AMD64").build()),
    ]);
    let (windows, told) = read(&fs);
    assert_eq!(windows.product.release.as_deref(), Some("22H2"));
    let told: Vec<String> = told.iter().map(ToString::to_string).collect();
    let line = "Windows/System32/config/SOFTWARE: key Microsoft: the list that has it has another hint of \
        its name";
    assert_eq!(told, [line]);
}
