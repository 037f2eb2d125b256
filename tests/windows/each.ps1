# --each: every volume is a junction in the folder, with its own label, size and serial number.
. "$PSScriptRoot\common.ps1"

$folder = New-Mount each $Sample @('--each')
try {
    $serials = foreach ($volume in $Volumes) {
        $item = Get-Item -LiteralPath (Join-Path $folder $volume)
        if ($item.LinkType -ne 'Junction') { throw "$volume is no junction: $($item.LinkType)" }
        # fsutil tells name, serial number and file system of what lies at a path.
        $said = fsutil fsinfo volumeinfo (Join-Path $folder $volume)
        if ($LASTEXITCODE -eq 0) {
            $said | Select-String -Pattern '0x[0-9a-f]+' | Select-Object -First 1 | ForEach-Object { $_.Matches[0].Value }
        }
    }
    $serials | Out-Host
    if ($serials -and @($serials | Sort-Object -Unique).Count -ne 3) { throw 'volumes share a serial number' }
    Assert-Files $folder
} finally {
    Remove-Mount $folder
}
exit 0
