# Nothing below a mount can be written.
. "$PSScriptRoot\common.ps1"

$folder = New-Mount write $Sample
try {
    foreach ($place in @('') + $Volumes) {
        $new = Join-Path $folder "$place\new"
        $tries = @{
            'a new file'      = { [IO.File]::WriteAllText($new, 'new') }
            'a new directory' = { New-Item -ItemType Directory -Path $new }
        }
        if ($place) {
            $file = Join-Path $folder "$place\README.txt"
            $tries.'other bytes' = { [IO.File]::AppendAllText($file, 'more') }
            $tries.'another name' = { [IO.File]::Move($file, $new) }
            $tries.'no file' = { [IO.File]::Delete($file) }
            $tries.'other attributes' = { [IO.File]::SetAttributes($file, 'Hidden') }
            $tries.'other times' = { [IO.File]::SetLastWriteTime($file, (Get-Date)) }
        }
        foreach ($name in $tries.Keys) {
            $written = $true
            try { & $tries.$name | Out-Null } catch { $written = $false }
            if ($written) { throw "${place}: $name was possible" }
        }
    }
    Assert-Files $folder
} finally {
    Remove-Mount $folder
}
exit 0
