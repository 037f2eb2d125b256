# The MSI installs, the program is found by its name and works, and all of it goes again.
#
#     install.ps1 MSI
param([Parameter(Mandatory)] [string] $Package)
. "$PSScriptRoot\common.ps1"

function Invoke-Installer {
    param([string] $Verb)
    $log = Join-Path $Work 'msiexec.log'
    $words = @($Verb, "`"$Package`"", '/qn', '/norestart', '/l*v', "`"$log`"")
    $process = Start-Process -Wait -PassThru -FilePath msiexec.exe -ArgumentList $words
    if ($process.ExitCode -ne 0) {
        Get-Content -LiteralPath $log -Tail 100 | Out-Host
        throw "msiexec $Verb ended with $($process.ExitCode)"
    }
}

function Get-MachinePath {
    [Environment]::GetEnvironmentVariable('PATH', 'Machine')
}

$Package = (Resolve-Path -LiteralPath $Package).Path
$signature = Get-AuthenticodeSignature -LiteralPath $Package
Write-Output "signature: $($signature.Status)"
if ($signature.Status -notin 'Valid', 'NotSigned') { throw "the signature is $($signature.Status)" }

$folder = Join-Path $env:ProgramFiles 'volfold'
Invoke-Installer '/i'
$env:PATH = Get-MachinePath
$found = (Get-Command volfold).Source
if ($found -ne (Join-Path $folder 'volfold.exe')) { throw "volfold is $found" }
volfold --version
volfold ls $Sample -p /Windows
if ($LASTEXITCODE -ne 0) { throw 'the installed program does not list the sample' }
Invoke-Installer '/x'
if (Test-Path -LiteralPath $folder) { throw "$folder is still there" }
if ((Get-MachinePath) -match 'volfold') { throw 'PATH still names the folder' }
exit 0
