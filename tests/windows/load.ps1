# unmount while programs read: it ends soon, and no program gets a wrong byte.
. "$PSScriptRoot\common.ps1"

$folder = New-Mount load $Sample
python "$PSScriptRoot\load.py" $folder $SampleList $Program
if ($LASTEXITCODE -ne 0) { throw 'unmount under load' }
if (Test-Path -LiteralPath $folder) { throw "$folder is still there" }
exit 0
