# Drives the iSCSI initiator of Windows. stdin holds one JSON object with what is asked; the answer is
# one line on stdout that begins with `volfold:`, and JSON.
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
try { [Console]::OutputEncoding = New-Object System.Text.UTF8Encoding $false } catch { $null = $_ }
$asked = ($input | Out-String) | ConvertFrom-Json
$portal = @{ TargetPortalAddress = $asked.address; TargetPortalPortNumber = $asked.port }

function Write-Answer($answer) {
    [Console]::Out.WriteLine('volfold:' + (ConvertTo-Json -InputObject $answer -Depth 5 -Compress))
}

function Get-Ours($name) {
    Get-IscsiSession -ErrorAction SilentlyContinue | Where-Object { $_.TargetNodeAddress -eq $name }
}

# The disk of a session, when it has arrived; it comes a moment after the login.
function Wait-Disk($name) {
    $until = (Get-Date).AddSeconds($asked.seconds)
    do {
        foreach ($session in @(Get-Ours $name)) {
            $disk = Get-Disk -iSCSISession $session -ErrorAction SilentlyContinue | Select-Object -First 1
            if ($disk) { return $disk }
        }
        Start-Sleep -Milliseconds 250
    } while ((Get-Date) -lt $until)
    throw 'the disk does not appear'
}

# Drive letters, folders and \\?\Volume{...}\ of a disk. A disk without partitions has none.
function Wait-Paths($number) {
    $until = (Get-Date).AddSeconds(5)
    do {
        $partitions = @(Get-Partition -DiskNumber $number -ErrorAction SilentlyContinue)
        $paths = @($partitions | ForEach-Object { $_.AccessPaths } | Where-Object { $_ })
        if ($paths.Count -gt 0) { return $paths }
        Start-Sleep -Milliseconds 500
    } while ((Get-Date) -lt $until)
    return @()
}

function Connect-One($name, $login) {
    $one = @{ name = $name; disk = $null; paths = @(); offline = ''; error = '' }
    try {
        Connect-IscsiTarget -NodeAddress $name -IsPersistent $false @portal @login | Out-Null
        $disk = Wait-Disk $name
        $one.disk = [int]$disk.Number
        # Servers leave new disks of this kind offline.
        if ($disk.IsOffline) {
            try { Set-Disk -Number $disk.Number -IsOffline $false }
            catch { $one.offline = $_.Exception.Message }
        }
        $one.paths = @(Wait-Paths $disk.Number)
    } catch {
        $one.error = $_.Exception.Message
    }
    $one
}

function Disconnect-One($name) {
    $one = @{ name = $name; error = '' }
    try {
        if (@(Get-Ours $name).Count -gt 0) {
            Disconnect-IscsiTarget -NodeAddress $name -Confirm:$false | Out-Null
        }
    } catch {
        $one.error = $_.Exception.Message
    }
    $one
}

$step = 'administrator'
try {
    $me = New-Object Security.Principal.WindowsPrincipal ([Security.Principal.WindowsIdentity]::GetCurrent())
    if (-not $me.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) {
        throw 'not an administrator'
    }
    $step = 'service'
    $service = Get-Service -Name MSiSCSI
    if ($asked.action -eq 'detach' -and $service.Status -ne 'Running') {
        # Sessions and portals of ours end with it.
        Write-Answer @{ targets = @() }
        exit 0
    }
    if ($service.Status -ne 'Running') { Start-Service -Name MSiSCSI }
    if ($asked.action -eq 'attach') {
        $login = @{ AuthenticationType = 'ONEWAYCHAP'; ChapUsername = $asked.user; ChapSecret = $asked.secret }
        $step = 'portal'
        New-IscsiTargetPortal @portal @login | Out-Null
        $step = 'login'
        $targets = @($asked.targets | ForEach-Object { Connect-One $_ $login })
    } else {
        $step = 'logout'
        $targets = @($asked.targets | ForEach-Object { Disconnect-One $_ })
        $step = 'portal'
        if ($asked.portal) {
            Get-IscsiTargetPortal -ErrorAction SilentlyContinue |
                Where-Object {
                    $_.TargetPortalAddress -eq $asked.address -and $_.TargetPortalPortNumber -eq $asked.port
                } |
                ForEach-Object { Remove-IscsiTargetPortal @portal -Confirm:$false }
        }
    }
    Write-Answer @{ targets = $targets }
} catch {
    Write-Answer @{ targets = @(); step = $step; error = $_.Exception.Message }
    exit 1
}
