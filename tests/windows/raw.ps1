# --raw: disks and volumes as files, whose bytes are those of the image.
. "$PSScriptRoot\common.ps1"

$images = Join-Path $Work raw-images
Expand-Fixture mbr-extended $images
$image = Join-Path $images 'mbr-extended.img'
$folder = New-Mount raw $image @('--raw')
try {
    Get-ChildItem -Recurse -Force -LiteralPath "$folder\.raw" | Format-Table -Property Length, Name
    $disk = Get-FileHash -LiteralPath "$folder\.raw\disk0.img"
    $own = Get-FileHash -LiteralPath $image
    if ($disk.Hash -ne $own.Hash) { throw 'disk0.img is not the image' }
} finally {
    Remove-Mount $folder
    Remove-Item -Recurse -Force -LiteralPath $images
}
exit 0
