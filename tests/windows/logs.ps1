# Collects what may explain a failure, for an artifact.
. "$PSScriptRoot\common.ps1"

$logs = Join-Path $env:RUNNER_TEMP 'logs'
New-Item -ItemType Directory -Force -Path $logs | Out-Null
$ErrorActionPreference = 'Continue'
$places = @{
    user    = "$env:LOCALAPPDATA\volfold"
    system  = "$env:SystemRoot\System32\config\systemprofile\AppData\Local\volfold"
    service = "$env:ProgramData\volfold"
    mounts  = "$env:ProgramData\volfold\mounts"
    work    = $Work
}
foreach ($name in $places.Keys) {
    Get-ChildItem -File -Path "$($places.$name)\*" -Include '*.log', '*.toml', '*.txt' -ErrorAction SilentlyContinue |
        ForEach-Object { Copy-Item -LiteralPath $_.FullName -Destination (Join-Path $logs "$name-$($_.Name)") }
}
& $Program mounts --json > (Join-Path $logs 'mounts.json')
Get-Process volfold* | Format-List -Property Id, Path, StartTime > (Join-Path $logs 'processes.txt')
Get-WinEvent -LogName System, Application -MaxEvents 300 |
    Where-Object { $_.ProviderName -match 'WinFsp|Service Control Manager|iSCSI|Application Error' } |
    Format-List -Property TimeCreated, ProviderName, Message > (Join-Path $logs 'events.txt')
exit 0
