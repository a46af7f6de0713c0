import { balancerConformance } from '../../testing/balancer-suite.ts';
import { startEmbeddedEngine } from './engine.ts';

balancerConformance('embedded engine', startEmbeddedEngine);
