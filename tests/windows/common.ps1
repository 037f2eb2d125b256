# What the steps share. Each script takes it in by `. "$PSScriptRoot\common.ps1"`, makes its own mounts, and frees them.
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
# Exit codes are looked at: many programs end with others than 0 when all is well.
$PSNativeCommandUseErrorActionPreference = $false
$ProgressPreference = 'SilentlyContinue'

$Root = (Resolve-Path -LiteralPath "$PSScriptRoot\..\..").Path
$Program = "$Root\target\release\volfold.exe"
# Below the root of the system drive every user may read.
$Work = "$env:SystemDrive\volfold-test"
$Sample = "$Root\samples\sample.vmdk"
$SampleList = "$Root\samples\sample.sha256"
$Volumes = 'BOOT', 'Windows', 'linux'
New-Item -ItemType Directory -Force -Path $Work | Out-Null

# Runs volfold; what it prints is the result.
function Invoke-Volfold {
    param([string[]] $Words)
    $said = & $Program @Words
    if ($LASTEXITCODE -ne 0) { throw "volfold $Words ended with $LASTEXITCODE" }
    $said
}

# Mounts below $Work and gives the folder. `mount` returns when the folders can be read.
function New-Mount {
    param([string] $Name, [string[]] $Disks, [string[]] $Options = @())
    $folder = Join-Path $Work $Name
    if (Test-Path -LiteralPath $folder) { throw "$folder is there already" }
    $words = @('mount') + $Disks + @($folder) + $Options
    Invoke-Volfold $words | Out-Host
    $folder
}

# Frees the folder, which `mount` made and which has to go.
function Remove-Mount {
    param([string] $Folder)
    Invoke-Volfold @('unmount', $Folder) | Out-Host
    if (Test-Path -LiteralPath $Folder) { throw "$Folder is still there" }
    $left = Get-Mounts | Where-Object folder -EQ $Folder
    if ($left) { throw "$Folder is still in the list of mounts" }
}

function Get-Mounts {
    $said = Invoke-Volfold @('mounts', '--json')
    $list = $said | Out-String | ConvertFrom-Json
    $list.mounts
}

# Writes the images of a fixture to a folder.
function Expand-Fixture {
    param([string] $Name, [string] $Folder)
    Push-Location -LiteralPath $Root
    cargo xtask unpack $Name $Folder | Out-Host
    Pop-Location
    if ($LASTEXITCODE -ne 0) { throw "the fixture $Name cannot be unpacked" }
}

# The lines of a list: /path, size, SHA-256.
function Get-Listing {
    param([string] $List = $SampleList)
    $lines = @(Get-Content -Encoding utf8 -LiteralPath $List)
    if ($lines.Count -lt 20) { throw "$List is cut short" }
    foreach ($line in $lines) {
        $path, $size, $digest = $line -split "`t"
        [pscustomobject]@{ Path = $path.Replace('/', '\'); Size = [long] $size; Digest = $digest }
    }
}

# Fails unless every file of the list that lies below BELOW is in FOLDER with its bytes.
function Assert-Files {
    param([string] $Folder, [string] $Below = '\')
    $wrong = 0
    $count = 0
    foreach ($row in Get-Listing) {
        if (-not $row.Path.StartsWith($Below)) { continue }
        $rest = $row.Path.Substring($Below.Length)
        $file = Join-Path $Folder $rest
        $hash = Get-FileHash -Algorithm SHA256 -LiteralPath $file
        $length = (Get-Item -LiteralPath $file).Length
        if ($hash.Hash -ne $row.Digest -or $length -ne $row.Size) {
            Write-Output "$file differs"
            $wrong += 1
        }
        $count += 1
    }
    if ($wrong -ne 0 -or $count -eq 0) { throw "$wrong of $count files differ" }
    Write-Output "$count files are the same"
}

function Wait-Until {
    param([string] $What, [scriptblock] $Condition, [int] $Seconds = 90)
    $end = (Get-Date).AddSeconds($Seconds)
    while (-not (& $Condition)) {
        if ((Get-Date) -gt $end) { throw "$What did not happen within $Seconds seconds" }
        Start-Sleep -Milliseconds 500
    }
    Write-Output "${What}: yes"
}

# Runs read-as.ps1 by the task scheduler, as SYSTEM or as a user with a password, and gives what it wrote.
function Invoke-ReaderAs {
    param([string] $User, [string] $Password, [string] $Folder)
    $place = Join-Path $Work "reader-$User"
    New-Item -ItemType Directory -Force -Path $place | Out-Null
    icacls $place /grant '*S-1-5-32-545:(OI)(CI)M' | Out-Null
    Copy-Item -LiteralPath "$PSScriptRoot\read-as.ps1", $SampleList -Destination $place
    $answer = Join-Path $place 'answer.txt'
    Remove-Item -LiteralPath $answer -ErrorAction SilentlyContinue
    $shell = "$env:SystemRoot\System32\WindowsPowerShell\v1.0\powershell.exe"
    $words = "-NoProfile -ExecutionPolicy Bypass -File `"$place\read-as.ps1`" `"$Folder`" `"$place\sample.sha256`" `"$answer`""
    $task = @{ TaskName = "volfold-$User"; Force = $true }
    $task.Action = New-ScheduledTaskAction -Execute $shell -Argument $words
    if ($User -eq 'SYSTEM') {
        $task.Principal = New-ScheduledTaskPrincipal -UserId SYSTEM -LogonType ServiceAccount
    } else {
        $task.User = $User
        $task.Password = $Password
    }
    Register-ScheduledTask @task | Out-Null
    try {
        Start-ScheduledTask -TaskName $task.TaskName
        Wait-Until "$User reads" { Test-Path -LiteralPath "$answer.done" } 180 | Out-Host
        Get-Content -LiteralPath $answer
    } finally {
        Unregister-ScheduledTask -TaskName $task.TaskName -Confirm:$false
        Remove-Item -LiteralPath "$answer.done" -ErrorAction SilentlyContinue
    }
}
