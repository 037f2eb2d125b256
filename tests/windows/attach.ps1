# attach: the initiator of Windows makes a disk of an image. Its bytes are those of the image, and Windows' own NTFS
# driver reads what is on it.
. "$PSScriptRoot\common.ps1"

# Attaches and gives the disk, when Windows has it.
function New-Disk {
    param([string[]] $Words)
    $said = Invoke-Volfold (@('attach') + $Words) | Out-String
    Write-Host $said
    if ($said -notmatch '\\\\\.\\PhysicalDrive(\d+)') { throw 'attach names no disk' }
    $number = [int] $Matches[1]
    $disk = Get-Disk -Number $number
    if ($disk.BusType -ne 'iSCSI') { throw "disk $number is on $($disk.BusType)" }
    # Servers leave new disks alone.
    if ($disk.IsOffline) { Set-Disk -Number $number -IsOffline $false }
    Get-Disk -Number $number
}

$images = Join-Path $Work attach-images
Expand-Fixture mbr-extended $images
$image = Join-Path $images 'mbr-extended.img'
try {
    $disk = New-Disk @($image)
    $length = (Get-Item -LiteralPath $image).Length
    if ($disk.Size -ne $length) { throw "the disk has $($disk.Size) bytes, not $length" }
    if (-not $disk.IsReadOnly) { throw 'the disk can be written' }
    $stream = [IO.File]::Open("\\.\PhysicalDrive$($disk.Number)", 'Open', 'Read', 'ReadWrite')
    try {
        $buffer = [byte[]]::new($length)
        $count = 0
        while ($count -lt $length) {
            $piece = $stream.Read($buffer, $count, [Math]::Min(1MB, $length - $count))
            if ($piece -eq 0) { throw "the disk ends at byte $count" }
            $count += $piece
        }
    } finally {
        $stream.Dispose()
    }
    $digest = [Convert]::ToHexString([Security.Cryptography.SHA256]::Create().ComputeHash($buffer))
    if ($digest -ne (Get-FileHash -LiteralPath $image).Hash) { throw 'the disk has other bytes than the image' }
    Invoke-Volfold @('detach', "\\.\PhysicalDrive$($disk.Number)")
    Wait-Until 'no disk' { -not (Get-Disk -Number $disk.Number -ErrorAction SilentlyContinue) } 30

    $disk = New-Disk @($Sample)
    $partition = Get-Partition -DiskNumber $disk.Number | Sort-Object Offset | Select-Object -First 1
    $volume = $partition | Get-Volume
    $volume | Format-List -Property FileSystem, FileSystemLabel, Size, Path
    if ($volume.FileSystem -ne 'NTFS') { throw "Windows sees $($volume.FileSystem)" }
    $row = Get-Listing | Where-Object Path -EQ '\Windows\README.txt'
    $stream = [IO.File]::OpenRead("$($volume.Path)README.txt")
    try {
        $digest = [Convert]::ToHexString([Security.Cryptography.SHA256]::Create().ComputeHash($stream))
    } finally {
        $stream.Dispose()
    }
    if ($digest -ne $row.Digest) { throw 'README.txt differs' }
} finally {
    & $Program detach all
    Remove-Item -Recurse -Force -LiteralPath $images
}
Start-Sleep -Seconds 2
if (Get-Disk | Where-Object BusType -EQ 'iSCSI') { throw 'a disk is left' }
exit 0
