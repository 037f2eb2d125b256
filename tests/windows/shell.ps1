# The shell of Windows, which Explorer shows, lists a mount and copies out of it.
. "$PSScriptRoot\common.ps1"

$folder = New-Mount shell $Sample
try {
    $shell = New-Object -ComObject Shell.Application
    foreach ($volume in $Volumes) {
        $documents = Join-Path $folder "$volume\Documents"
        $space = $shell.NameSpace($documents)
        if (-not $space) { throw "the shell does not open $documents" }
        $names = @($space.Items() | ForEach-Object { $_.Name })
        Write-Output "${volume}: $($names -join ', ')"
        # The shell may leave out the endings.
        if (-not ($names -match '^letter')) { throw "the shell does not list letter.txt in $documents" }
        $size = $space.ParseName('letter.txt').Size
        if ($size -ne 52) { throw "the shell says that letter.txt has $size bytes" }
    }
    $target = Join-Path $Work 'shell-copied'
    New-Item -ItemType Directory -Path $target | Out-Null
    $boot = $shell.NameSpace((Join-Path $folder 'BOOT'))
    # 4: no window with progress. 16: yes to all. 1024: no window with an error.
    $shell.NameSpace($target).CopyHere($boot.ParseName('README.txt'), 1044)
    $copied = Join-Path $target 'README.txt'
    Wait-Until 'the copy of the shell' { Test-Path -LiteralPath $copied } 30
    Start-Sleep -Seconds 1
    $row = Get-Listing | Where-Object Path -EQ '\BOOT\README.txt'
    $hash = (Get-FileHash -LiteralPath $copied).Hash
    if ($hash -ne $row.Digest) { throw "$copied differs" }
} finally {
    Remove-Mount $folder
}
exit 0
