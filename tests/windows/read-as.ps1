# Reads the files of LIST below FOLDER as the user who runs it, and writes to ANSWER how it went: one line.
#
#     read-as.ps1 FOLDER LIST ANSWER
#
# For Windows PowerShell 5 too.
param([string] $Folder, [string] $List, [string] $Answer)
$ErrorActionPreference = 'Stop'
$count = 0
try {
    foreach ($line in Get-Content -Encoding UTF8 -LiteralPath $List) {
        $path, $size, $digest = $line -split "`t"
        $windows = $path.Replace('/', '\')
        $hash = Get-FileHash -Algorithm SHA256 -LiteralPath "$Folder$windows"
        if ($hash.Hash -ne $digest) { throw "$path differs" }
        $count += 1
    }
    $said = "$count files are the same"
} catch {
    $said = "failed after $count files: $_"
}
Set-Content -LiteralPath $Answer -Value $said
Set-Content -LiteralPath "$Answer.done" -Value ''
