# Everything below a mount is seen and read by the ways that programs have.
. "$PSScriptRoot\common.ps1"

$folder = New-Mount files $Sample
try {
    # One volume: what lies in the folder are directories, not junctions that scanners pass by.
    $top = Get-ChildItem -LiteralPath $folder
    $top | Format-Table -Property Mode, LinkType, Name
    $names = ($top.Name | Sort-Object) -join ' '
    if ($names -ne 'BOOT linux Windows') { throw "the folder holds: $names" }
    if ($top | Where-Object LinkType) { throw 'a volume is a link' }

    $wanted = @(Get-Listing).Count
    $found = Get-ChildItem -Recurse -Force -LiteralPath $folder
    $files = @($found | Where-Object { -not $_.PSIsContainer -and -not $_.LinkType })
    if ($files.Count -ne $wanted) { throw "Get-ChildItem -Recurse sees $($files.Count) files, not $wanted" }

    # /a-d-l: neither directories nor links.
    $lines = @(cmd /c dir /s /b /a-d-l $folder)
    if ($lines.Count -ne $wanted) { throw "dir /s sees $($lines.Count) files, not $wanted" }

    Assert-Files $folder
    foreach ($script in 'walk.py', 'reads.py') {
        python "$PSScriptRoot\$script" $folder $SampleList
        if ($LASTEXITCODE -ne 0) { throw "$script ended with $LASTEXITCODE" }
    }
} finally {
    Remove-Mount $folder
}
exit 0
