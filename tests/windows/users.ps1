# Who may read: by default SYSTEM, the administrators and the user who mounted; with --access everyone all.
. "$PSScriptRoot\common.ps1"

$user = 'volfold-reader'
# 14 characters: of longer ones `net` asks.
$password = "Vf-$([guid]::NewGuid())".Substring(0, 14)
net user $user $password /add
if ($LASTEXITCODE -ne 0) { throw 'no user can be made' }
# The task scheduler may log these on, and they are no administrators.
net localgroup 'Performance Log Users' $user /add
try {
    $folder = New-Mount users $Sample
    try {
        $said = Invoke-ReaderAs SYSTEM '' $folder
        if ($said -ne '27 files are the same') { throw "SYSTEM: $said" }
        $said = Invoke-ReaderAs $user $password $folder
        if ($said -notmatch '^failed after 0 files') { throw "an ordinary user was let in: $said" }
    } finally {
        Remove-Mount $folder
    }
    $folder = New-Mount users $Sample @('--access', 'everyone')
    try {
        $said = Invoke-ReaderAs $user $password $folder
        if ($said -ne '27 files are the same') { throw "an ordinary user, with --access everyone: $said" }
    } finally {
        Remove-Mount $folder
    }
} finally {
    net user $user /delete
}
exit 0
