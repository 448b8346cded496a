import { fractals, encodePng } from 'seedbed';
import { writeFile } from 'node:fs/promises';
const {systems}=await fractals.loadSystems('/tmp/sdb.json');
let t=performance.now();
const image=await fractals.picture(systems[3],{size:8192,points:150_000_000,palette:'aurora',threads:1});
console.log('drawn',(performance.now()-t).toFixed(0),'ms', process.resourceUsage().maxRSS/1024,'MB'); t=performance.now();
const png=await encodePng(image); await writeFile('/tmp/big.png',png);
console.log('png',(performance.now()-t).toFixed(0),'ms',png.length/1e6,'MB', process.resourceUsage().maxRSS/1024,'MB');
