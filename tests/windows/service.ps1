# The service mounts its list as SYSTEM, brings back what dies, and frees all of it when it stops.
. "$PSScriptRoot\common.ps1"

$folder = Join-Path $Work service
$list = Join-Path $Work 'service.toml'
Set-Content -LiteralPath $list -Value @"
[[mount]]
folder = '$folder'
disks = ['$Sample']
access = 'everyone'
"@

function Get-ServiceProcess {
    (Get-CimInstance Win32_Service -Filter "Name = 'volfold'").ProcessId
}

# The processes of its mounts.
function Get-MountProcess {
    $service = Get-ServiceProcess
    Get-CimInstance Win32_Process -Filter "Name = 'volfold.exe'" | Where-Object ProcessId -NE $service
}

$readable = { Test-Path -LiteralPath "$folder\BOOT\README.txt" }
$gone = { -not (Test-Path -LiteralPath "$folder\BOOT") }

Invoke-Volfold @('service', 'install', $list)
try {
    Wait-Until 'the mount' $readable
    Assert-Files $folder
    Wait-Until 'a good status' { & $Program service status | Out-Host; $LASTEXITCODE -eq 0 }
    $said = Invoke-ReaderAs SYSTEM '' $folder
    if ($said -ne '27 files are the same') { throw "SYSTEM: $said" }
    # What SYSTEM mounted is told to an administrator.
    $mount = @(Get-Mounts | Where-Object folder -EQ $folder)
    if ($mount.Count -ne 1) { throw 'mounts does not name the mount of the service' }
    if ($mount[0].mounted_by -ne 'service') { throw "mounts says that $($mount[0].mounted_by) mounted" }

    $old = @(Get-MountProcess)
    $old | Format-Table -Property ProcessId, CommandLine
    if ($old.Count -eq 0) { throw 'the service has no process for its mount' }
    $old | ForEach-Object { Stop-Process -Force -Id $_.ProcessId }
    Wait-Until 'another process' { Get-MountProcess | Where-Object ProcessId -NotIn $old.ProcessId }
    Wait-Until 'the mount, after its process was killed' $readable
    Assert-Files $folder

    # As a power cut: nobody cleans up.
    $service = Get-ServiceProcess
    $all = @($service) + @(Get-MountProcess | ForEach-Object ProcessId)
    $all | ForEach-Object { Stop-Process -Force -Id $_ }
    Wait-Until 'the end of the service' { (Get-ServiceProcess) -ne $service } 30
    Wait-Until 'the service runs again, started by Windows' { (Get-Service volfold).Status -eq 'Running' }
    Wait-Until 'the mount, after all was killed' $readable
    Assert-Files $folder

    # A second time: the list is replaced.
    Invoke-Volfold @('service', 'install', $list)
    Wait-Until 'the mount, after a second install' $readable

    Restart-Service volfold
    Wait-Until 'the mount, after a restart' $readable
    Assert-Files $folder

    Stop-Service volfold
    Wait-Until 'no mount, after a stop' $gone 30
    if (@(Get-Process volfold -ErrorAction SilentlyContinue).Count -ne 0) { throw 'a process is left' }
} finally {
    Invoke-Volfold @('service', 'uninstall')
}
Wait-Until 'no service' { -not (Get-Service volfold -ErrorAction SilentlyContinue) } 30
exit 0
