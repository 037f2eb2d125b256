//! The program as a service of Windows, and the folder that only the system writes to.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::windows::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceControl, ServiceControlAccept,
    ServiceErrorControl, ServiceExitCode, ServiceFailureActions, ServiceFailureResetPeriod,
    ServiceInfo, ServiceStartType, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{
    self, ServiceControlHandlerResult, ServiceStatusHandle,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
use windows_service::{define_windows_service, service_dispatcher};

use super::security;

/// The name of the service.
const NAME: &str = "volfold";

/// The folder of the records.
const RECORDS: &str = "mounts";

/// `FILE_ATTRIBUTE_REPARSE_POINT`.
const REPARSE_POINT: u32 = 0x400;

/// SYSTEM and the administrators may do everything, all others nothing.
const SYSTEM_ONLY: &str = "O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)";

/// How long the service has for its stop; it ends sooner, see [`ServiceStop`].
const STOP_TIME: Duration = Duration::from_secs(60);

type Work = Box<dyn Fn(&mut ServiceStop) -> io::Result<()> + Send + Sync>;

/// What the service does; Windows calls a function without arguments of ours.
static WORK: OnceLock<Work> = OnceLock::new();

fn failed(error: windows_service::Error) -> io::Error {
    match error {
        windows_service::Error::Winapi(error) => error,
        other => io::Error::other(other),
    }
}

/// `ERROR_SERVICE_EXISTS`.
const SERVICE_EXISTS: i32 = 1073;

/// `ERROR_SERVICE_DOES_NOT_EXIST`.
const NO_SUCH_SERVICE: i32 = 1060;

/// `ERROR_SERVICE_MARKED_FOR_DELETE`.
const MARKED_FOR_DELETE: i32 = 1072;

fn manager(more: ServiceManagerAccess) -> io::Result<ServiceManager> {
    let access = ServiceManagerAccess::CONNECT | more;
    ServiceManager::local_computer(None::<&OsStr>, access).map_err(failed)
}

/// Registers the program with `arguments` as a service that starts with Windows as SYSTEM, and
/// starts it; one that is there already is stopped, and started anew.
///
/// # Errors
/// `PermissionDenied` without the rights of an administrator, or why Windows refuses.
pub fn install(arguments: Vec<OsString>) -> io::Result<()> {
    let manager = manager(ServiceManagerAccess::CREATE_SERVICE)?;
    let info = ServiceInfo {
        name: NAME.into(),
        display_name: "volfold: disk images as folders".into(),
        service_type: ServiceType::OWN_PROCESS,
        // Not delayed: WinFsp's driver starts with the first mount, Dokan's before, and what does not
        // work yet is tried again.
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: std::env::current_exe()?,
        launch_arguments: arguments,
        dependencies: Vec::new(),
        account_name: None,
        account_password: None,
    };
    let access = ServiceAccess::START
        | ServiceAccess::STOP
        | ServiceAccess::QUERY_STATUS
        | ServiceAccess::CHANGE_CONFIG;
    let service = match manager.create_service(&info, access).map_err(failed) {
        Err(error) if error.raw_os_error() == Some(SERVICE_EXISTS) => {
            let service = manager.open_service(NAME, access).map_err(failed)?;
            service.change_config(&info).map_err(failed)?;
            stop(&service)?;
            service
        }
        Err(error) if error.raw_os_error() == Some(MARKED_FOR_DELETE) => {
            let line = "was removed, but programs still have it open; close the window \
                        \"Services\", or restart Windows";
            return Err(io::Error::other(line));
        }
        other => other?,
    };
    let text = "Shows the volumes on disk images as folders, by its list of mounts";
    // The service works without these.
    let _ = service.set_description(text);
    let _ = service.update_failure_actions(restart_on_failure());
    let _ = service.set_preshutdown_timeout(STOP_TIME);
    service.start::<&OsStr>(&[]).map_err(failed)
}

/// Windows starts the service again when it ends by a failure: soon, then later.
fn restart_on_failure() -> ServiceFailureActions {
    let restart_after = |seconds| ServiceAction {
        action_type: ServiceActionType::Restart,
        delay: Duration::from_secs(seconds),
    };
    ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(Duration::from_secs(24 * 3600)),
        reboot_msg: None,
        command: None,
        actions: Some([5, 30, 60].map(restart_after).to_vec()),
    }
}

/// Stops the service and waits for its end; it may have stopped by itself.
fn stop(service: &Service) -> io::Result<()> {
    let start = Instant::now();
    loop {
        match service.query_status().map_err(failed)?.current_state {
            ServiceState::Stopped => return Ok(()),
            // Refused while it starts.
            ServiceState::Running => drop(service.stop()),
            _ => {}
        }
        if start.elapsed() > STOP_TIME {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the service does not stop"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Stops the service and removes it.
///
/// # Errors
/// `PermissionDenied` without the rights of an administrator; if there is no such service, or it
/// does not stop.
pub fn uninstall() -> io::Result<()> {
    let access = ServiceAccess::QUERY_STATUS | ServiceAccess::STOP | ServiceAccess::DELETE;
    let manager = manager(ServiceManagerAccess::empty())?;
    let service = manager.open_service(NAME, access).map_err(failed)?;
    stop(&service)?;
    service.delete().map_err(failed)
}

/// What Windows knows of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceFacts {
    /// `running`, `stopped` or what is between them.
    pub state: &'static str,
    /// Its process, if it has one.
    pub pid: Option<u32>,
}

/// What Windows knows of the service; `None` if it is not installed.
///
/// # Errors
/// If Windows does not tell.
pub fn facts() -> io::Result<Option<ServiceFacts>> {
    let manager = manager(ServiceManagerAccess::empty())?;
    let service = match manager.open_service(NAME, ServiceAccess::QUERY_STATUS).map_err(failed) {
        Err(error) if error.raw_os_error() == Some(NO_SUCH_SERVICE) => return Ok(None),
        other => other?,
    };
    let status = service.query_status().map_err(failed)?;
    let state = match status.current_state {
        ServiceState::Running => "running",
        ServiceState::Stopped => "stopped",
        ServiceState::StartPending | ServiceState::ContinuePending => "starting",
        ServiceState::StopPending | ServiceState::PausePending => "stopping",
        ServiceState::Paused => "paused",
    };
    Ok(Some(ServiceFacts { state, pid: status.process_id.filter(|pid| *pid != 0) }))
}

define_windows_service!(service_main, service_body);

/// Does `work` as the service; it gets how the stop is asked for.
///
/// # Errors
/// If the process was not started by the service manager.
pub fn run(
    work: impl Fn(&mut ServiceStop) -> io::Result<()> + Send + Sync + 'static,
) -> io::Result<()> {
    let _ = WORK.set(Box::new(work));
    service_dispatcher::start(NAME, service_main).map_err(failed)
}

/// The request to stop, and the word to Windows that it is being done.
pub struct ServiceStop {
    told: Receiver<()>,
    status: ServiceStatusHandle,
    checkpoint: u32,
}

impl ServiceStop {
    /// Waits for the request, at most for `time`; whether it came.
    pub fn wait(&self, time: Duration) -> bool {
        self.told.recv_timeout(time) != Err(RecvTimeoutError::Timeout)
    }

    /// Tells Windows that the stop goes on; to be called every second or so until it is done.
    pub fn is_stopping(&mut self) {
        self.checkpoint += 1;
        report(self.status, ServiceState::StopPending, self.checkpoint, ServiceExitCode::Win32(0));
    }
}

/// A status that Windows does not take leaves nothing to do.
fn report(
    handle: ServiceStatusHandle,
    current_state: ServiceState,
    checkpoint: u32,
    exit_code: ServiceExitCode,
) {
    let controls_accepted = match current_state {
        // Before the shutdown itself, which has no time for images that do not answer.
        ServiceState::Running => ServiceControlAccept::STOP | ServiceControlAccept::PRESHUTDOWN,
        _ => ServiceControlAccept::empty(),
    };
    let is_pending = current_state == ServiceState::StopPending;
    let _ = handle.set_service_status(ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state,
        controls_accepted,
        exit_code,
        checkpoint,
        wait_hint: if is_pending { Duration::from_secs(10) } else { Duration::ZERO },
        process_id: None,
    });
}

fn service_body(_arguments: Vec<OsString>) {
    let (send, told) = channel();
    let known = Arc::new(OnceLock::<ServiceStatusHandle>::new());
    let own = Arc::clone(&known);
    let handler = move |control| match control {
        ServiceControl::Stop | ServiceControl::Preshutdown => {
            // At once, so that no one asks a second time.
            if let Some(handle) = own.get() {
                report(*handle, ServiceState::StopPending, 0, ServiceExitCode::Win32(0));
            }
            let _ = send.send(());
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        _ => ServiceControlHandlerResult::NotImplemented,
    };
    let Ok(status) = service_control_handler::register(NAME, handler) else {
        return;
    };
    let _ = known.set(status);
    report(status, ServiceState::Running, 0, ServiceExitCode::Win32(0));
    let mut stop = ServiceStop { told, status, checkpoint: 0 };
    let exit_code = match WORK.get().map(|work| work(&mut stop)) {
        Some(Err(error)) => match error.raw_os_error() {
            Some(code) => ServiceExitCode::Win32(code.cast_unsigned()),
            None => ServiceExitCode::ServiceSpecific(1),
        },
        _ => ServiceExitCode::Win32(0),
    };
    report(status, ServiceState::Stopped, 0, exit_code);
}

/// Where [`system_folder`] is, whether it is there or not.
///
/// # Errors
/// If the host does not tell.
pub fn system_path() -> io::Result<PathBuf> {
    Ok(security::program_data()?.join("volfold"))
}

/// The folder for what the service reads and writes, which only SYSTEM and the administrators
/// can enter; made if it is not there.
///
/// # Errors
/// If it cannot be made, or another user made it.
pub fn system_folder() -> io::Result<PathBuf> {
    made(system_path()?)
}

/// The folder below [`system_folder`] for the records of SYSTEM's mounts; made if it is not there.
///
/// # Errors
/// As [`system_folder`].
pub(super) fn records_folder() -> io::Result<PathBuf> {
    made(system_folder()?.join(RECORDS))
}

/// The same, where it is there and nobody but SYSTEM and the administrators can have written in it.
pub(super) fn trusted_records() -> Option<PathBuf> {
    let folder = system_path().ok()?;
    check(&folder).ok()?;
    let records = folder.join(RECORDS);
    check(&records).is_ok().then_some(records)
}

/// Makes `folder` if it is not there, for SYSTEM and the administrators alone.
fn made(folder: PathBuf) -> io::Result<PathBuf> {
    match std::fs::create_dir(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    check(&folder)?;
    security::protect(&folder, SYSTEM_ONLY)?;
    Ok(folder)
}

/// Whether `folder` is of SYSTEM, the administrators or this user, and no link. Every user may make
/// folders and links where programs keep what they have for all, so another one could have been first.
fn check(folder: &Path) -> io::Result<()> {
    let refused = |reason: &str| {
        let line = format!("{} {reason}; remove it", folder.display());
        Err(io::Error::new(io::ErrorKind::PermissionDenied, line))
    };
    if std::fs::symlink_metadata(folder)?.file_attributes() & REPARSE_POINT != 0 {
        return refused("is a link");
    }
    let owner = security::owner(folder)?;
    if ![security::SYSTEM, security::ADMINISTRATORS].contains(&owner.as_str())
        && owner != security::current_user()?
    {
        return refused("belongs to another user");
    }
    Ok(())
}
