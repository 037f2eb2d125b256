# --letter: a volume as a drive.
. "$PSScriptRoot\common.ps1"

$drive = 'V:'
if (Test-Path -LiteralPath "$drive\") { throw "$drive is in use" }
Invoke-Volfold @('mount', $Sample, '--volume', 'Windows', '--letter', $drive)
try {
    Get-ChildItem -LiteralPath "$drive\" | Format-Table -Property Mode, Length, Name
    $top = if (Test-Path -LiteralPath "$drive\Windows\README.txt") { "$drive\Windows" } else { "$drive\" }
    Assert-Files $top '\Windows\'
    $info = [IO.DriveInfo]::new($drive)
    Write-Output "$($info.VolumeLabel), $($info.DriveFormat), $($info.TotalSize) bytes"
    if (-not $info.IsReady -or $info.TotalSize -le 0) { throw "$drive is not ready" }
    # It is in use now.
    & $Program mount $Sample --volume BOOT --letter $drive
    if ($LASTEXITCODE -eq 0) { throw "$drive was taken twice" }
} finally {
    Invoke-Volfold @('unmount', $drive)
}
if (Test-Path -LiteralPath "$drive\") { throw "$drive is still there" }
exit 0
