//! The program as a service of Windows, and the folder that only the system writes to.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use windows_service::service::{
    ServiceAccess, ServiceControl, ServiceControlAccept, ServiceErrorControl, ServiceExitCode,
    ServiceInfo, ServiceStartType, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
use windows_service::{define_windows_service, service_dispatcher};

use super::security;

/// The name of the service.
const NAME: &str = "volfold";

/// How long a stop may take before Windows ends the process.
const STOP_TIME: Duration = Duration::from_secs(30);

/// SYSTEM and the administrators may do everything, all others nothing.
const SYSTEM_ONLY: &str = "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)";

type Work = Box<dyn Fn(&Receiver<()>) -> io::Result<()> + Send + Sync>;

/// What the service does; Windows calls a function without arguments of ours.
static WORK: OnceLock<Work> = OnceLock::new();

fn failed(error: windows_service::Error) -> io::Error {
    match error {
        windows_service::Error::Winapi(error) => error,
        other => io::Error::other(other),
    }
}

/// Registers the program with `arguments` as a service that starts with Windows as SYSTEM, and
/// starts it.
///
/// # Errors
/// `PermissionDenied` without the rights of an administrator, or why Windows refuses.
pub fn install(arguments: Vec<OsString>) -> io::Result<()> {
    let access = ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE;
    let manager = ServiceManager::local_computer(None::<&OsStr>, access).map_err(failed)?;
    let info = ServiceInfo {
        name: NAME.into(),
        display_name: "volfold: disk images as folders".into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: std::env::current_exe()?,
        launch_arguments: arguments,
        dependencies: Vec::new(),
        account_name: None,
        account_password: None,
    };
    let access = ServiceAccess::START | ServiceAccess::CHANGE_CONFIG;
    let service = manager.create_service(&info, access).map_err(failed)?;
    let text = "Shows the volumes on disk images as folders, by its list of mounts";
    // The service works without a description.
    let _ = service.set_description(text);
    service.start::<&OsStr>(&[]).map_err(failed)
}

/// Stops the service and removes it.
///
/// # Errors
/// `PermissionDenied` without the rights of an administrator; if there is no such service, or it
/// does not stop.
pub fn uninstall() -> io::Result<()> {
    let access = ServiceManagerAccess::CONNECT;
    let manager = ServiceManager::local_computer(None::<&OsStr>, access).map_err(failed)?;
    let access = ServiceAccess::QUERY_STATUS | ServiceAccess::STOP | ServiceAccess::DELETE;
    let service = manager.open_service(NAME, access).map_err(failed)?;
    // It may have stopped by itself.
    let _ = service.stop();
    let start = Instant::now();
    while service.query_status().map_err(failed)?.current_state != ServiceState::Stopped {
        if start.elapsed() > STOP_TIME {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the service does not stop"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    service.delete().map_err(failed)
}

define_windows_service!(service_main, service_body);

/// Does `work` as the service; it gets where the request to stop arrives.
///
/// # Errors
/// If the process was not started by the service manager.
pub fn run(
    work: impl Fn(&Receiver<()>) -> io::Result<()> + Send + Sync + 'static,
) -> io::Result<()> {
    let _ = WORK.set(Box::new(work));
    service_dispatcher::start(NAME, service_main).map_err(failed)
}

fn service_body(_arguments: Vec<OsString>) {
    let (send, stop) = channel();
    let handler = move |control| match control {
        ServiceControl::Stop | ServiceControl::Shutdown => {
            let _ = send.send(());
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        _ => ServiceControlHandlerResult::NotImplemented,
    };
    let Ok(status) = service_control_handler::register(NAME, handler) else {
        return;
    };
    let report = |current_state, controls_accepted, exit_code| {
        let _ = status.set_service_status(ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state,
            controls_accepted,
            exit_code,
            checkpoint: 0,
            wait_hint: STOP_TIME,
            process_id: None,
        });
    };
    let accepted = ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN;
    report(ServiceState::Running, accepted, ServiceExitCode::Win32(0));
    let exit_code = match WORK.get().map(|work| work(&stop)) {
        Some(Err(error)) => match error.raw_os_error() {
            Some(code) => ServiceExitCode::Win32(code.cast_unsigned()),
            None => ServiceExitCode::ServiceSpecific(1),
        },
        _ => ServiceExitCode::Win32(0),
    };
    report(ServiceState::Stopped, ServiceControlAccept::empty(), exit_code);
}

/// The folder for what the service reads and writes, which only SYSTEM and the administrators
/// can enter; made if it is not there.
///
/// # Errors
/// If it cannot be made, or another user made it.
pub fn system_folder() -> io::Result<PathBuf> {
    let folder = security::program_data()?.join("volfold");
    match std::fs::create_dir(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Every user may make folders there, so another one could have been first.
    let owner = security::owner(&folder)?;
    if ![security::SYSTEM, security::ADMINISTRATORS].contains(&owner.as_str())
        && owner != security::current_user()?
    {
        let line = format!("{} belongs to another user; remove it", folder.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, line));
    }
    security::protect(&folder, SYSTEM_ONLY)?;
    Ok(folder)
}
