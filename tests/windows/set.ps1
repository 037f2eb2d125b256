# A volume that lies on two dynamic disks is one folder; an independent listing tells what is in it.
. "$PSScriptRoot\common.ps1"

$images = Join-Path $Work set-images
Expand-Fixture ldm-spanned $images
$folder = New-Mount set $images
try {
    python "$PSScriptRoot\walk.py" "$folder\E" "$Root\tests\fixtures\ldm-spanned.0002-Volume1.tsv"
    if ($LASTEXITCODE -ne 0) { throw 'the spanned volume has other files' }
} finally {
    Remove-Mount $folder
    Remove-Item -Recurse -Force -LiteralPath $images
}
exit 0
