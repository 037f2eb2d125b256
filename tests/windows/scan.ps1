# A virus scanner that is given the folder finds the test virus in every volume: Defender, or ClamAV where a machine
# has no Defender.
. "$PSScriptRoot\common.ps1"

# Fails unless the scanner named every copy.
function Assert-Found {
    param([string[]] $Said)
    $text = $Said -join "`n"
    if ($text -notmatch 'EICAR') { throw 'the test virus is not named' }
    foreach ($volume in $Volumes) {
        $file = Join-Path $volume 'eicar.com'
        if (-not $text.Contains($file)) { throw "not found: $file" }
    }
    Write-Output 'the test virus was found in every volume'
}

# By its digest: no signatures have to be fetched.
function Invoke-ClamAV {
    param([string] $Folder)
    choco install clamav -y --no-progress | Out-Host
    $program = "$env:ProgramFiles\ClamAV\clamscan.exe"
    if (-not (Test-Path -LiteralPath $program)) { throw "$program is missing" }
    $signatures = Join-Path $Work 'eicar.hdb'
    Set-Content -LiteralPath $signatures -Value '44d88612fea8a8f36de82e1278abb02f:68:EICAR-Test-File'
    $said = & $program --recursive "--database=$signatures" $Folder
    # 1: something was found.
    if ($LASTEXITCODE -ne 1) { throw "clamscan ended with $LASTEXITCODE" }
    $said
}

# What Defender says, or nothing if this machine has no engine that works.
function Invoke-Defender {
    param([string] $Folder)
    $program = "$env:ProgramFiles\Windows Defender\MpCmdRun.exe"
    Start-Service WinDefend -ErrorAction SilentlyContinue
    $service = Get-Service WinDefend -ErrorAction SilentlyContinue
    if (-not $service -or $service.Status -ne 'Running' -or -not (Test-Path -LiteralPath $program)) { return }
    & $program -SignatureUpdate | Out-Host
    $said = & $program -Scan -ScanType 3 -File $Folder -DisableRemediation
    $code = $LASTEXITCODE
    $said | Out-Host
    # It ends with 2 if it found something, and if it could not scan.
    if ($said -match 'failed with hr') { return }
    if ($code -ne 2) { throw "MpCmdRun found nothing: it ended with $code" }
    $said
}

$folder = New-Mount scan $Sample
try {
    $said = Invoke-Defender $folder
    if (-not $said) {
        Write-Output '::warning::no engine of Defender works here; ClamAV scans in its place'
        $said = Invoke-ClamAV $folder
        $said | Out-Host
    }
    Assert-Found $said
} finally {
    Remove-Mount $folder
}
exit 0
