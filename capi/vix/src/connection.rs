//! Connections: here always to the files of this host.

use std::ffi::c_char;

use volfold_capi_support::{Handle, foreign};

use crate::errors::{
    Done, Failure, VIX_E_DISK_INVALID_CONNECTION, VIX_E_NOT_SUPPORTED, VixError, call, fixed, value,
};
use crate::layout::{Bool, ConnectHead, VixDiskLibConnectParams};
use crate::library::needs_disk_library;
use crate::objects::{self, Kind, Object};

/// A connection to the files of this host.
pub struct Connection;

/// Fails for parameters that name a server or a machine on one.
unsafe fn check_local(params: *const VixDiskLibConnectParams) -> Done {
    if params.is_null() {
        return Ok(());
    }
    let head: ConnectHead = foreign::take(params.cast(), "connectParams")?;
    let server = foreign::optional_text(head.serverName, "serverName")?.unwrap_or_default();
    let machine = foreign::optional_text(head.vmxSpec, "vmxSpec")?.unwrap_or_default();
    match (server, machine) {
        ("", "") => Ok(()),
        _ => Err(Failure::new(VIX_E_NOT_SUPPORTED, "only disks in files of this host are read")),
    }
}

/// The ways to disks: "file". The text is never freed.
#[unsafe(no_mangle)]
pub extern "C" fn VixDiskLib_ListTransportModes() -> *const c_char {
    fixed(c"file")
}

/// Connects to the files of this host: `connectParams` is NULL, or names no server and no machine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VixDiskLib_Connect(
    connectParams: *const VixDiskLibConnectParams,
    connection: *mut Handle,
) -> VixError {
    call(|| connect(connectParams, connection))
}

/// The same. `transportModes` is NULL or has "file" among its names; `snapshotRef` is for servers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VixDiskLib_ConnectEx(
    connectParams: *const VixDiskLibConnectParams,
    _readOnly: Bool,
    snapshotRef: *const c_char,
    transportModes: *const c_char,
    connection: *mut Handle,
) -> VixError {
    call(|| {
        if !foreign::optional_text(snapshotRef, "snapshotRef")?.unwrap_or_default().is_empty() {
            return Err(Failure::new(VIX_E_NOT_SUPPORTED, "snapshots of servers are not read"));
        }
        let modes = foreign::optional_text(transportModes, "transportModes")?.unwrap_or_default();
        if !modes.is_empty() && !modes.split(':').any(|mode| mode == "file") {
            let line = format!("of {modes} there is none here, only file");
            return Err(Failure::new(VIX_E_NOT_SUPPORTED, line));
        }
        connect(connectParams, connection)
    })
}

unsafe fn connect(params: *const VixDiskLibConnectParams, connection: *mut Handle) -> Done {
    foreign::put(connection, 0, "connection")?;
    needs_disk_library()?;
    check_local(params)?;
    let handle = objects::open(Object::Connection(Connection.into()), None)?;
    Ok(foreign::put(connection, handle, "connection")?)
}

/// Ends a connection, and closes the disks that were opened by it.
#[unsafe(no_mangle)]
pub extern "C" fn VixDiskLib_Disconnect(connection: Handle) -> VixError {
    call(|| {
        let is_it = |object: &Object| matches!(object, Object::Connection(_));
        let closed = objects::close(connection, "connection", is_it);
        let none = |_| Failure::new(VIX_E_DISK_INVALID_CONNECTION, "not an open connection");
        drop(closed.map_err(none)?);
        Ok(())
    })
}

/// Parameters without a server, all zeros. VixDiskLib_FreeConnectParams frees them.
#[unsafe(no_mangle)]
pub extern "C" fn VixDiskLib_AllocateConnectParams() -> *mut VixDiskLibConnectParams {
    value(std::ptr::null_mut(), || allocate().map(<*const _>::cast_mut))
}

fn allocate() -> Done<*const VixDiskLibConnectParams> {
    use std::ptr::null;
    objects::block(Kind::ConnectParams, |_| VixDiskLibConnectParams {
        vmxSpec: null(),
        serverName: null(),
        thumbPrint: null(),
        privateUse: 0,
        credType: 0,
        creds: [null(); 3],
        port: 0,
        nfcHostPort: 0,
        reserved3: null(),
        reserved4: [0; 8],
        reserved5: null(),
        spec: [null(); 3],
        specType: 0,
    })
}

/// The parameters of a connection, which has none: all zeros.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VixDiskLib_GetConnectParams(
    connection: Handle,
    connectParams: *mut *const VixDiskLibConnectParams,
) -> VixError {
    call(|| {
        foreign::put(connectParams, std::ptr::null(), "connectParams")?;
        objects::connection(connection)?;
        Ok(foreign::put(connectParams, allocate()?, "connectParams")?)
    })
}

/// Frees parameters of the two functions above; anything else is left alone.
#[unsafe(no_mangle)]
pub extern "C" fn VixDiskLib_FreeConnectParams(connectParams: *mut VixDiskLibConnectParams) {
    objects::free_quietly(Kind::ConnectParams, connectParams.cast_const());
}

/// Nothing is left behind by disks in files: both numbers are 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VixDiskLib_Cleanup(
    connectParams: *const VixDiskLibConnectParams,
    numCleanedUp: *mut u32,
    numRemaining: *mut u32,
) -> VixError {
    call(|| {
        needs_disk_library()?;
        check_local(connectParams)?;
        for number in [numCleanedUp, numRemaining] {
            if !number.is_null() {
                foreign::put(number, 0, "number")?;
            }
        }
        Ok(())
    })
}

/// Nothing has to be prepared for disks in files.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VixDiskLib_PrepareForAccess(
    connectParams: *const VixDiskLibConnectParams,
    _identity: *const c_char,
) -> VixError {
    call(|| {
        needs_disk_library()?;
        check_local(connectParams)
    })
}

/// The other end of VixDiskLib_PrepareForAccess.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn VixDiskLib_EndAccess(
    connectParams: *const VixDiskLibConnectParams,
    _identity: *const c_char,
) -> VixError {
    call(|| {
        needs_disk_library()?;
        check_local(connectParams)
    })
}
