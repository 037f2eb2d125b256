# robocopy copies all of a mount, plainly and with the rights of a backup.
. "$PSScriptRoot\common.ps1"

$folder = New-Mount copy $Sample
try {
    foreach ($mode in '/J', '/B') {
        $target = Join-Path $Work "copied$($mode.Replace('/', '-'))"
        # /SL: links as links. /COPY:DAT: data, attributes, times.
        robocopy $folder $target /E /SL $mode /COPY:DAT /R:0 /W:0 /NP /NFL /NDL
        # 1: something was copied. 8 and above: something could not be.
        if ($LASTEXITCODE -ge 8 -or ($LASTEXITCODE -band 1) -eq 0) { throw "robocopy $mode ended with $LASTEXITCODE" }
        Assert-Files $target
        Remove-Item -Recurse -Force -LiteralPath $target
    }
} finally {
    Remove-Mount $folder
}
exit 0
