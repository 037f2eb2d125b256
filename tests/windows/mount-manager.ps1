# --mount-manager: the volume has a GUID, and a final path.
. "$PSScriptRoot\common.ps1"

$folder = New-Mount managed $Sample @('--mount-manager')
try {
    $name = (mountvol $folder /L | Out-String).Trim()
    Write-Output $name
    if ($name -notmatch '^\\\\\?\\Volume\{[0-9a-f-]{36}\}\\$') { throw 'the Mount Manager does not know the folder' }
    # The device name in place of the folder.
    $first = (Get-Listing)[0]
    $device = $name.TrimEnd('\')
    $stream = [IO.File]::OpenRead("$device$($first.Path)")
    try {
        $digest = [Convert]::ToHexString([Security.Cryptography.SHA256]::Create().ComputeHash($stream))
    } finally {
        $stream.Dispose()
    }
    if ($digest -ne $first.Digest) { throw "$device$($first.Path) differs" }
    # Needs GetFinalPathNameByHandle, which fails for volumes that the Mount Manager does not know.
    python "$PSScriptRoot\walk.py" $folder $SampleList --real-path
    if ($LASTEXITCODE -ne 0) { throw 'realpath fails' }
} finally {
    Remove-Mount $folder
}
exit 0
