import { balancerConformance } from '../../testing/balancer-suite.ts';
import { startEmbeddedEngine } from './engine.ts';

const leftOut =
  "Node's HTTP/2 leaves a header with such bytes out instead of refusing the stream: it never arrives anywhere";

balancerConformance('embedded engine', startEmbeddedEngine, {
  'HTTP/2: P10: refused: a line break in a value': leftOut,
  'HTTP/2: P10: refused: a bare line feed in a value': leftOut,
  'HTTP/2: P10: refused: a zero byte in a value': leftOut,
  'HTTP/2: P10: refused: a line break in a name': leftOut,
  'HTTP/2: P10: refused: a space in a name': leftOut,
  'HTTP/2: P10: refused: a colon in a name': leftOut,
});
